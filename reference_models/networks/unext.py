"""UNeXt: convolutions above, shifted tokenised MLPs below, skips that are added.

J. M. J. Valanarasu, V. M. Patel, "UNeXt: MLP-Based Rapid Medical Image Segmentation Network",
MICCAI 2022, doi:10.1007/978-3-031-16443-9_3.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reference_models.networks.blocks import conv_bn

CHUNKS = 5  # groups of channels, shifted by -2, -1, 0, 1 and 2 pixels
REACH = CHUNKS // 2


class Shift(nn.Module):
    """Shift five groups of channels of x (N, H, W, C) by -2..2 pixels, filling with zeros.

    Zeros are put around once, then cut off each group unevenly: a padding below zero cuts.

    Args:
        channels: C.
        dim: 1 to shift along the height, 2 along the width.
    """

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__()
        self.group = math.ceil(channels / CHUNKS)  # known here, and so a constant in the export
        self.inner = (0, 0) * (3 - dim)  # padding of the axes further in

    def forward(self, x: Tensor) -> Tensor:
        padded = F.pad(x, (*self.inner, REACH, REACH))
        shifted = (
            F.pad(group, (*self.inner, i - 2 * REACH, -i))
            for i, group in enumerate(torch.split(padded, self.group, dim=3))
        )
        return torch.cat(tuple(shifted), dim=3)


class ShiftedBlock(nn.Module):
    """x + MLP(LN(x)), where the MLP shifts along the height, then along the width; then a norm.

    Tokens x are (N, H, W, C).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.across_height = shifted_linear(channels, dim=1)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.across_width = shifted_linear(channels, dim=2)
        self.norm_after = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.across_height(self.norm(x))
        y = F.gelu(to_tokens(self.depthwise(to_map(y))))
        normed: Tensor = self.norm_after(x + self.across_width(y))
        return normed


class Tokens(nn.Module):
    """A shifted block on a map (N, C, H, W), after a norm where the map is freshly embedded."""

    def __init__(self, channels: int, *, embedded: bool) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels) if embedded else nn.Identity()
        self.block = ShiftedBlock(channels)

    def forward(self, x: Tensor) -> Tensor:
        return to_map(self.block(self.norm(to_tokens(x))))


def shifted_linear(channels: int, dim: int) -> nn.Sequential:
    """A shift along `dim`, and a linear map of the channels."""
    return nn.Sequential(Shift(channels, dim), nn.Linear(channels, channels))


def to_tokens(x: Tensor) -> Tensor:
    """(N, C, H, W) to (N, H, W, C)."""
    return x.permute(0, 2, 3, 1)


def to_map(x: Tensor) -> Tensor:
    """(N, H, W, C) to (N, C, H, W)."""
    return x.permute(0, 3, 1, 2)


class UNeXt(nn.Module):
    """UNeXt as published: widths 16, 32, 128 by convolution, 160 and 256 by tokens."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.conv_down = nn.ModuleList(
            nn.Sequential(*conv_bn(inputs, outputs, bias=True), nn.MaxPool2d(2), nn.ReLU())
            for inputs, outputs in pairwise((in_channels, 16, 32, 128))
        )
        self.token_down = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), Tokens(outputs, embedded=True)
            )
            for inputs, outputs in pairwise((128, 160, 256))
        )
        self.up = nn.ModuleList(
            nn.Sequential(
                *conv_bn(inputs, outputs, bias=True),
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
                nn.ReLU(),
            )
            for inputs, outputs in pairwise((256, 160, 128, 32, 16))
        )
        self.token_up = nn.ModuleList(Tokens(width, embedded=False) for width in (160, 128))
        self.last = nn.Conv2d(16, 16, 3, padding=1)
        self.double_size = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.head = nn.Conv2d(16, 1, 1)
        for part in (self.token_down, self.token_up):
            part.apply(initialise_tokens)

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, C, H, W) images to (N, 1, H, W) logits; H and W are multiples of 32."""
        x = with_skips(image, (*self.conv_down, *self.token_down), self.up, tokens=self.token_up)
        logits: Tensor = self.head(F.relu(self.double_size(self.last(x))))
        return logits


def with_skips(
    x: Tensor, down: Iterable[nn.Module], up: Iterable[nn.Module], *, tokens: nn.ModuleList
) -> Tensor:
    """Go down and up again, adding to each level what left the same one on the way down.

    Args:
        x: (N, C, H, W).
        down: levels, each of half the size.
        up: levels, each of twice the size; one fewer.
        tokens: what follows the first of them, level by level.
    """
    skips = []
    for level in down:
        x = level(x)
        skips.append(x)
    for number, (level, skip) in enumerate(zip(up, skips[-2::-1], strict=True)):
        x = level(x) + skip
        if number < len(tokens):
            x = tokens[number](x)
    return x


def initialise_tokens(module: nn.Module) -> None:
    """The initialisation of the token parts, as in vision transformers."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
        nn.init.normal_(module.weight, 0.0, math.sqrt(2 * module.groups / fan_out))
        assert module.bias is not None
        nn.init.zeros_(module.bias)
