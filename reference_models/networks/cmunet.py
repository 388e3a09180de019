"""CMU-Net: ConvMixer at the bottom of a U-Net, multi-scale attention on its skips.

F. Tang, L. Wang, C. Ning, M. Xian, J. Ding, "CMU-Net: A Strong ConvMixer-based Medical Ultrasound
Image Segmentation Network", ISBI 2023, arXiv:2210.13012.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from reference_models.networks.blocks import conv_gelu_bn
from reference_models.networks.cmunext import Mixer
from reference_models.networks.unet import SKIP_WIDTHS, WIDTHS, UNet

LAYERS, KERNEL = 7, 7  # of ConvMixer, at the bottom


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
    """CMU-Net: a layer of ConvMixer is a mixer with one pointwise convolution."""
    width = WIDTHS[-1]
    mixers = (Mixer(width, KERNEL, conv_gelu_bn(width, width)) for _ in range(LAYERS))
    return UNet(in_channels, nn.Sequential(*mixers), map(MultiScaleAttention, SKIP_WIDTHS))
