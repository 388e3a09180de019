"""An ensemble: one model a fold, put together in a single ONNX file that answers for all folds.

The evaluator scores a file with `fold: null` once. On the public validation part such a model has
seen every case in training, so its score there says nothing: judge the members, one fold each.
"""

import torch
from torch import Tensor, nn

from command_line import arguments
from dataset import BundleDataset
from submission import write_submission
from torch_training import fit_folds, to_onnx

SIZE = 128


class Member(nn.Module):
    """A small network of dilated convolutions. Put your own here."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(1, width, 3, padding=1)]
        for dilation in (1, 2, 4, 8, 16, 8, 4, 1):
            layers += [nn.BatchNorm2d(width), nn.ReLU()]
            layers += [nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation)]
        self.body = nn.Sequential(*layers, nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        return self.body(image)


class Ensemble(nn.Module):
    """The mean probability of all members, (N, 1, H, W)."""

    def __init__(self, members: list[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, image: Tensor) -> Tensor:
        return torch.stack([torch.sigmoid(member(image)) for member in self.members]).mean(dim=0)


def main() -> None:
    options = arguments(epochs=30)
    cases = BundleDataset(options.bundle, size=SIZE).arrays()
    members = fit_folds(Member, cases, options.epochs, options.out)
    model = to_onnx(Ensemble(list(members.values())), SIZE)
    write_submission(options.out, options.bundle, {None: model}, SIZE, "probabilities")


if __name__ == "__main__":
    main()
