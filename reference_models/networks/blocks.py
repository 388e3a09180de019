"""What several networks share: plain convolution blocks, and the check of the input's size."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reference_models.errors import UsageError


def conv_bn_relu(inputs: int, outputs: int, *, bias: bool = True) -> nn.Sequential:
    """A 3 x 3 convolution at the input's size, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=bias),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


class ContractingPath(nn.ModuleList):
    """The way down of U-Net: two convolutions a level, halved by max pooling in between.

    Args:
        in_channels: channels of the image.
        widths: channels of each level, top first.
    """

    def __init__(self, in_channels: int, widths: Sequence[int]) -> None:
        super().__init__(
            double_conv(inputs, outputs) for inputs, outputs in pairwise((in_channels, *widths))
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map images (N, C, H, W) to the feature of each level, top first."""
        features: list[Tensor] = []
        for level in self:
            features.append(level(F.max_pool2d(features[-1], 2) if features else image))
        return features


def double_conv(inputs: int, outputs: int) -> nn.Sequential:
    """U-Net's block: two 3 x 3 convolutions, each with batch norm and ReLU."""
    return nn.Sequential(conv_bn_relu(inputs, outputs), conv_bn_relu(outputs, outputs))


def check_size(height: int, width: int, multiple: int) -> None:
    """Refuse sizes that the poolings of a network would not divide evenly.

    Raises:
        UsageError: naming the nearest sizes that fit.
    """
    if height % multiple == 0 and width % multiple == 0 and min(height, width) > 0:
        return
    fit = [max(multiple, round(side / multiple) * multiple) for side in (height, width)]
    raise UsageError(
        f"This network cannot take {height} x {width} pixels.",
        f"Height and width must be multiples of {multiple}: try {fit[0]} x {fit[1]}.",
    )


def require_multiple(image: Tensor, multiple: int) -> None:
    """`check_size` on a batch of images (N, C, H, W)."""
    if not torch.onnx.is_in_onnx_export():  # sizes are traced values there, and checked before
        check_size(image.shape[-2], image.shape[-1], multiple)


def require_size(image: Tensor, size: tuple[int, int]) -> None:
    """Refuse a batch of images (N, C, H, W) of another size than the network was made for.

    Raises:
        UsageError: naming both sizes.
    """
    if torch.onnx.is_in_onnx_export() or tuple(image.shape[-2:]) == size:
        return
    raise UsageError(
        f"This network cannot take {image.shape[-2]} x {image.shape[-1]} pixels.",
        f"It was made for {size[0]} x {size[1]}: make another for another size.",
    )
