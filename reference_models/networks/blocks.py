"""What several networks share: the plain convolution block, and the check of the input's size."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reference_models.errors import UsageError


def conv_bn_relu(inputs: int, outputs: int) -> nn.Sequential:
    """A biased 3 x 3 convolution at the input's size, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


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
    if (
        not torch.onnx.is_in_onnx_export()
    ):  # there the sizes are traced values, and were checked before
        check_size(image.shape[-2], image.shape[-1], multiple)
