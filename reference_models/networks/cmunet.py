"""CMU-Net: ConvMixer at the bottom of a U-Net, multi-scale attention on its skips.

F. Tang, L. Wang, C. Ning, M. Xian, J. Ding, "CMU-Net: A Strong ConvMixer-based Medical Ultrasound
Image Segmentation Network", ISBI 2023, arXiv:2210.13012.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reference_models.networks.unet import SKIP_WIDTHS, WIDTHS, UNet

LAYERS, KERNEL = 7, 7


class ConvMixer(nn.Module):
    """One layer: a residual depthwise convolution, then a pointwise one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Sequential(
            nn.Conv2d(channels, channels, KERNEL, padding=KERNEL // 2, groups=channels),
            nn.GELU(),
            nn.BatchNorm2d(channels),
        )
        self.pointwise = nn.Sequential(
            nn.Conv2d(channels, channels, 1), nn.GELU(), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.pointwise(x + self.depthwise(x))
        return mixed


class MultiScaleAttention(nn.Module):
    """x + a x, where a looks at pointwise, local and dilated neighbourhoods of x."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, kernel, padding=reach, dilation=max(1, reach)),
                nn.BatchNorm2d(channels),
            )
            for kernel, reach in ((1, 0), (3, 1), (3, 2))
        )
        self.vote = nn.Sequential(
            nn.ReLU(inplace=True),
            nn.Conv2d(3 * channels, channels, 1),
            nn.BatchNorm2d(channels),
            nn.Sigmoid(),
        )

    def forward(self, skip: Tensor, _up: Tensor) -> Tensor:
        scales = torch.cat([scale(skip) for scale in self.scales], dim=1)
        attention: Tensor = self.vote(scales)
        return skip + skip * attention


def cmunet(in_channels: int) -> UNet:
    """CMU-Net: seven layers of ConvMixer with kernel 7."""
    bottom = nn.Sequential(*(ConvMixer(WIDTHS[-1]) for _ in range(LAYERS)))
    return UNet(in_channels, bottom, map(MultiScaleAttention, SKIP_WIDTHS))
