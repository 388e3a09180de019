"""A PyTorch network of one's own: one model a fold, logits out."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from command_line import arguments
from dataset import BundleDataset
from submission import write_submission
from torch_training import fit_folds, to_onnx

SIZE = 128


class SmallUNet(nn.Module):
    """Three levels, skips that are concatenated. Put your own network here."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.one = block(1, width)
        self.two = block(width, 2 * width)
        self.three = block(2 * width, 4 * width)
        self.up_two = block(6 * width, 2 * width)
        self.up_one = block(3 * width, width)
        self.head = nn.Conv2d(width, 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        one = self.one(image)
        two = self.two(F.max_pool2d(one, 2))
        three = self.three(F.max_pool2d(two, 2))
        two = self.up_two(torch.cat((two, F.interpolate(three, scale_factor=2.0)), 1))
        one = self.up_one(torch.cat((one, F.interpolate(two, scale_factor=2.0)), 1))
        return self.head(one)


def block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def main() -> None:
    options = arguments(epochs=30)
    cases = BundleDataset(options.bundle, size=SIZE).arrays()
    networks = fit_folds(SmallUNet, cases, options.epochs, options.out)
    models = {fold: to_onnx(network, SIZE) for fold, network in networks.items()}
    write_submission(options.out, options.bundle, models, SIZE, "logits")


if __name__ == "__main__":
    main()
