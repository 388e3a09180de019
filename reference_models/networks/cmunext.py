"""CMUNeXt, a light U-shaped network of large depthwise kernels; and CMU-Net, from which it came.

CMUNeXt: F. Tang, J. Ding, Q. Quan, L. Wang, C. Ning, S. K. Zhou, "CMUNeXt: An Efficient Medical
Image Segmentation Network based on Large Kernel and Skip Fusion", ISBI 2024,
doi:10.1109/ISBI56570.2024.

CMU-Net, ConvMixer at the bottom of a U-Net and multi-scale attention on its skips: F. Tang,
L. Wang, C. Ning, M. Xian, J. Ding, "CMU-Net: A Strong ConvMixer-based Medical Ultrasound Image
Segmentation Network", ISBI 2023, arXiv:2210.13012.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from reference_models.networks.blocks import conv_bn_relu, conv_gelu_bn
from reference_models.networks.unet import SKIP_WIDTHS, WIDTHS, UNet

CMUNET_LAYERS, CMUNET_KERNEL = 7, 7  # of ConvMixer


class Mixer(nn.Module):
    """A residual depthwise k x k, then a pointwise part: by default an inverted bottleneck."""

    def __init__(self, channels: int, kernel: int, pointwise: nn.Module | None = None) -> None:
        super().__init__()
        self.depthwise = conv_gelu_bn(channels, channels, kernel, groups=channels)
        self.pointwise = pointwise or inverted_bottleneck(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.pointwise(x + self.depthwise(x))
        return mixed


class SkipFusion(nn.Module):
    """Fuse a skip and the upsampled decoder feature, C channels each, into C channels.

    The grouped 3 x 3 keeps the two apart; the inverted bottleneck then mixes them.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.apart = conv_gelu_bn(2 * channels, 2 * channels, 3, groups=2)
        self.mix = inverted_bottleneck(2 * channels, channels)

    def forward(self, skip: Tensor, up: Tensor) -> Tensor:
        fused: Tensor = self.mix(self.apart(torch.cat((skip, up), dim=1)))
        return fused


def inverted_bottleneck(inputs: int, outputs: int) -> nn.Sequential:
    """Pointwise to four times the outputs and back, each followed by GELU and batch norm."""
    wide = 4 * outputs
    return nn.Sequential(*conv_gelu_bn(inputs, wide), *conv_gelu_bn(wide, outputs))


class CMUNeXt(nn.Module):
    """CMUNeXt with five levels.

    Args:
        in_channels: channels of the image.
        widths: channels of each level, top first.
        depths: mixer layers of each level.
        kernels: depthwise kernel of each level; odd.
    """

    def __init__(
        self,
        in_channels: int,
        widths: Sequence[int] = (16, 32, 128, 160, 256),
        depths: Sequence[int] = (1, 1, 1, 3, 1),
        *,
        kernels: Sequence[int] = (3, 3, 7, 7, 7),
    ) -> None:
        super().__init__()
        self.stem = conv_bn_relu(in_channels, widths[0])
        entering = (widths[0], *widths[:-1])
        self.encoder = nn.ModuleList(
            nn.Sequential(*(Mixer(inputs, kernel) for _ in range(depth)), conv_bn_relu(inputs, out))
            for inputs, out, depth, kernel in zip(entering, widths, depths, kernels, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        self.enlarge = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        upward = list(zip(widths[::-1], widths[-2::-1], strict=False))  # deepest first
        self.up = nn.ModuleList(conv_bn_relu(deep, shallow) for deep, shallow in upward)
        self.fuse = nn.ModuleList(SkipFusion(shallow) for _, shallow in upward)
        self.head = nn.Conv2d(widths[0], 1, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, C, H, W) images to (N, 1, H, W) logits; H and W are multiples of 16."""
        x = self.encoder[0](self.stem(image))
        skips = []
        for level in self.encoder[1:]:
            skips.append(x)
            x = level(self.pool(x))
        for up, fuse, skip in zip(self.up, self.fuse, reversed(skips), strict=True):
            x = fuse(skip, up(self.enlarge(x)))
        logits: Tensor = self.head(x)
        return logits


def cmunext_s(in_channels: int) -> CMUNeXt:
    """The paper's small variant, 0.418 M parameters."""
    return CMUNeXt(in_channels, (8, 16, 32, 64, 128), (1, 1, 1, 1, 1), kernels=(3, 3, 7, 7, 9))


def cmunext_l(in_channels: int) -> CMUNeXt:
    """The paper's large variant, 8.287 M parameters."""
    return CMUNeXt(in_channels, (32, 64, 128, 256, 512), (1, 1, 1, 6, 3), kernels=(3, 3, 7, 7, 7))


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
    mixers = (Mixer(width, CMUNET_KERNEL, conv_gelu_bn(width, width)) for _ in range(CMUNET_LAYERS))
    return UNet(in_channels, nn.Sequential(*mixers), map(MultiScaleAttention, SKIP_WIDTHS))
