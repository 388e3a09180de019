"""U-Net: a contracting path, an expanding path, and skips between them.

O. Ronneberger, P. Fischer, T. Brox, "U-Net: Convolutional Networks for Biomedical Image
Segmentation", MICCAI 2015, doi:10.1007/978-3-319-24574-4_28, arXiv:1505.04597. As in nearly all
later comparisons, convolutions are padded and normalised, and the way up is nearest-neighbour.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn

from reference_models.networks.blocks import (
    ContractingPath,
    conv_bn_relu,
    double_conv,
    require_multiple,
)

WIDTHS = (64, 128, 256, 512, 1024)
SKIP_WIDTHS = WIDTHS[-2::-1]  # as they are met on the way up


class PlainSkip(nn.Module):
    """Hand the skip on as it is."""

    def forward(self, skip: Tensor, _up: Tensor) -> Tensor:
        return skip


class UNet(nn.Module):
    """U-Net with five levels.

    Args:
        in_channels: channels of the image.
        bottom: what the deepest feature (1024 channels) goes through.
        gates: what each skip goes through, deepest first: from (skip, upsampled decoder feature),
            both of that level's width, to the skip that is concatenated.
    """

    def __init__(
        self,
        in_channels: int,
        bottom: nn.Module | None = None,
        gates: Iterable[nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = ContractingPath(in_channels, WIDTHS)
        self.bottom = bottom or nn.Identity()
        self.up = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2), conv_bn_relu(deep, shallow))
            for deep, shallow in pairwise(WIDTHS[::-1])
        )
        self.gates = nn.ModuleList(gates or (PlainSkip() for _ in SKIP_WIDTHS))
        self.decoder = nn.ModuleList(double_conv(2 * width, width) for width in SKIP_WIDTHS)
        self.head = nn.Conv2d(WIDTHS[0], 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, C, H, W) images to (N, 1, H, W) logits; H and W are multiples of 16."""
        require_multiple(image, 16)
        *skips, deepest = self.encoder(image)
        x = self.bottom(deepest)
        for up, gate, decode in zip(self.up, self.gates, self.decoder, strict=True):
            x = up(x)
            x = decode(torch.cat((gate(skips.pop(), x), x), dim=1))
        logits: Tensor = self.head(x)
        return logits
