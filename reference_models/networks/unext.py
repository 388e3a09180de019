"""UNeXt: convolutions above, shifted tokenised MLPs below, skips that are added.

J. M. J. Valanarasu, V. M. Patel, "UNeXt: MLP-Based Rapid Medical Image Segmentation Network",
MICCAI 2022, doi:10.1007/978-3-031-16443-9_3.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reference_models.networks.blocks import require_multiple

CHUNKS = 5  # groups of channels, shifted by -2, -1, 0, 1 and 2 pixels
REACH = CHUNKS // 2


def shift(x: Tensor, dim: int) -> Tensor:
    """Move five groups of channels of x (N, C, H, W) by -2..2 along `dim` (2 or 3), filling zeros.

    Padding once and cutting five windows: a roll would become a storm of nodes in ONNX.
    """
    length = x.shape[dim]
    padded = F.pad(x, (0, 0, REACH, REACH) if dim == 2 else (REACH, REACH, 0, 0))
    groups = enumerate(padded.chunk(CHUNKS, dim=1))
    return torch.cat([group.narrow(dim, 2 * REACH - i, length) for i, group in groups], dim=1)


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ChannelLinear(nn.Linear):
    """A linear map of the channels of (N, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ShiftedBlock(nn.Module):
    """x + MLP(LN(x)), where the MLP shifts along the height, then along the width; then a norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.across_height = ChannelLinear(channels, channels)
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.across_width = ChannelLinear(channels, channels)
        self.norm_after = ChannelNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.across_height(shift(self.norm(x), dim=2))
        y = self.across_width(shift(F.gelu(self.depthwise(y)), dim=3))
        normed: Tensor = self.norm_after(x + y)
        return normed


class UNeXt(nn.Module):
    """UNeXt as published: widths 16, 32, 128 by convolution, 160 and 256 by tokens."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.conv_down = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, padding=1),
                nn.BatchNorm2d(outputs),
                nn.MaxPool2d(2),
                nn.ReLU(),
            )
            for inputs, outputs in pairwise((in_channels, 16, 32, 128))
        )
        self.token_down = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, stride=2, padding=1),
                ChannelNorm(outputs, eps=1e-5),
                ShiftedBlock(outputs),
            )
            for inputs, outputs in pairwise((128, 160, 256))
        )
        self.up = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, padding=1),
                nn.BatchNorm2d(outputs),
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
                nn.ReLU(),
            )
            for inputs, outputs in pairwise((256, 160, 128, 32, 16))
        )
        self.token_up = nn.ModuleList((ShiftedBlock(160), ShiftedBlock(128)))
        self.last = nn.Conv2d(16, 16, 3, padding=1)
        self.double_size = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.head = nn.Conv2d(16, 1, 1)
        for part in (self.token_down, self.token_up):
            part.apply(_initialise)

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, C, H, W) images to (N, 1, H, W) logits; H and W are multiples of 32."""
        require_multiple(image, 32)
        skips, x = [], image
        for down in (*self.conv_down, *self.token_down):
            x = down(x)
            skips.append(x)
        for level, (up, skip) in enumerate(zip(self.up, skips[-2::-1], strict=True)):
            x = up(x) + skip
            if level < len(self.token_up):
                x = self.token_up[level](x)
        logits: Tensor = self.head(F.relu(self.double_size(self.last(x))))
        return logits


def _initialise(module: nn.Module) -> None:
    """The initialisation of the token parts, as in vision transformers."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        fan_out = module.kernel_size[0] * module.kernel_size[1] * module.out_channels
        nn.init.normal_(module.weight, 0.0, math.sqrt(2 * module.groups / fan_out))
        assert module.bias is not None
        nn.init.zeros_(module.bias)
