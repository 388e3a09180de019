"""A network in the manner of nnU-Net, with its preprocessing inside the ONNX file.

The evaluator scales a pixel to 0..1 and no more. What a method does beyond that, here the z-score
of each image over what is not black, is part of the graph, and so runs on the evaluator as well.
"""

import torch
from torch import Tensor, nn

from command_line import arguments
from dataset import BundleDataset
from submission import write_submission
from torch_training import fit_folds, to_onnx

SIZE = 128


class ZScore(nn.Module):
    """Less the mean and over the standard deviation of each image's pixels that are not black."""

    def forward(self, image: Tensor) -> Tensor:
        inside = (image > 0).float()
        count = inside.sum(dim=(1, 2, 3), keepdim=True).clamp(min=1)
        mean = (image * inside).sum(dim=(1, 2, 3), keepdim=True) / count
        variance = ((image - mean) ** 2 * inside).sum(dim=(1, 2, 3), keepdim=True) / count
        return (image - mean) / torch.sqrt(variance + 1e-6) * inside


class PlainNet(nn.Module):
    """nnU-Net's blocks: strided convolutions, instance norm, leaky ReLU; two maps out."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.before = ZScore()
        self.one = block(1, width, 1)
        self.two = block(width, 2 * width, 2)
        self.three = block(2 * width, 4 * width, 2)
        self.to_two = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.up_two = block(4 * width, 2 * width, 1)
        self.to_one = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.up_one = block(2 * width, width, 1)
        self.head = nn.Conv2d(width, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        one = self.one(self.before(image))
        two = self.two(one)
        two = self.up_two(torch.cat((two, self.to_two(self.three(two))), 1))
        return self.head(self.up_one(torch.cat((one, self.to_one(two)), 1)))


def block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1),
        nn.InstanceNorm2d(outputs, affine=True),
        nn.LeakyReLU(0.01),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.InstanceNorm2d(outputs, affine=True),
        nn.LeakyReLU(0.01),
    )


def mirrored(images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Every case, and every case seen in a mirror."""
    return torch.cat((images, images.flip(3))), torch.cat((masks, masks.flip(3)))


def main() -> None:
    options = arguments(epochs=15)
    cases = BundleDataset(options.bundle, size=SIZE).arrays()
    networks = fit_folds(PlainNet, cases, options.epochs, options.out, mirrored)
    models = {fold: to_onnx(network, SIZE) for fold, network in networks.items()}
    write_submission(options.out, options.bundle, models, SIZE, "softmax")


if __name__ == "__main__":
    main()
