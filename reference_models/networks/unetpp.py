"""U-Net++: nested nodes between encoder and decoder, here on a ResNet-34 encoder.

Z. Zhou, M. M. R. Siddiquee, N. Tajbakhsh, J. Liang, "UNet++: A Nested U-Net Architecture for
Medical Image Segmentation", DLMIA 2018, doi:10.1007/978-3-030-00889-5_1, arXiv:1807.10165. Encoder:
K. He, X. Zhang, S. Ren, J. Sun, "Deep Residual Learning for Image Recognition", CVPR 2016,
arXiv:1512.03385. The four heads are mixed by learned weights; there is no deep supervision.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reference_models.networks.blocks import Residual, conv_bn, conv_bn_relu

WIDTHS = (64, 64, 128, 256, 512)  # of the encoder, at 1/2 to 1/32 of the image
BLOCKS = (3, 4, 6, 3)  # ResNet-34
DEPTH = len(BLOCKS)


def basic_block(inputs: int, outputs: int, stride: int) -> Residual:
    """Two 3 x 3 convolutions beside the identity, or beside a projection where shapes change."""
    convs = nn.Sequential(
        *conv_bn(inputs, outputs, stride=stride), nn.ReLU(inplace=True), *conv_bn(outputs, outputs)
    )
    same = stride == 1 and inputs == outputs
    return Residual(convs, None if same else conv_bn(inputs, outputs, 1, stride=stride))


def resnet_34(in_channels: int) -> nn.ModuleList:
    """The stem and the four stages of ResNet-34, each to be fed with the one before."""
    stem = nn.Sequential(*conv_bn(in_channels, WIDTHS[0], 7, stride=2), nn.ReLU(inplace=True))
    levels = [stem]
    for level, (inputs, outputs) in enumerate(pairwise(WIDTHS)):
        # The first stage halves by pooling, the others by their first block.
        stage = [nn.MaxPool2d(3, 2, padding=1)] if level == 0 else []
        blocks = (
            basic_block(outputs if block else inputs, outputs, 1 if block or level == 0 else 2)
            for block in range(BLOCKS[level])
        )
        levels.append(nn.Sequential(*stage, *blocks))
    encoder = nn.ModuleList(levels)
    encoder.apply(_initialise)
    return encoder


def _initialise(module: nn.Module) -> None:
    """Convolutions as ResNet's authors begin (He et al., arXiv:1502.01852), by outputs."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def node(inputs: int, outputs: int) -> nn.Sequential:
    """A nested node: three convolutions, the inner ones of half the width."""
    half = outputs // 2
    steps = pairwise((inputs, half, half, outputs))
    return nn.Sequential(*(conv_bn_relu(a, b, bias=False) for a, b in steps))


class UNetPlusPlus(nn.Module):
    """U-Net++ on ResNet-34. Node X(i, j) is at level i, j steps to the right of the encoder.

    Args:
        in_channels: channels of the image.
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.encoder = resnet_34(in_channels)
        self.up = nn.Upsample(scale_factor=2)
        self.nodes = nn.ModuleList()  # column by column, top first
        widths = [[width] for width in WIDTHS]  # [i][j]
        for j in range(1, DEPTH + 1):
            for i in range(DEPTH + 1 - j):
                below = widths[i + 1][j - 1]
                outputs = WIDTHS[i + j - 1]
                self.nodes.append(node(sum(widths[i]) + below, outputs))
                widths[i].append(outputs)
        self.heads = nn.ModuleList(nn.Conv2d(width, 1, 1) for width in widths[0][1:])
        self.mix = nn.Parameter(torch.ones(DEPTH + 1))  # of X(0, j); the first has no head

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, C, H, W) images to (N, 1, H, W) logits; H and W are multiples of 32."""
        x = image
        made: list[list[Tensor]] = []  # [i][j]
        for level in self.encoder:
            x = level(x)
            made.append([x])
        nodes = iter(self.nodes)
        for j in range(1, DEPTH + 1):
            for i in range(DEPTH + 1 - j):
                inputs = torch.cat((*made[i], self.up(made[i + 1][j - 1])), dim=1)
                made[i].append(next(nodes)(inputs))
        heads = zip(self.heads, made[0][1:], strict=True)
        logits = torch.cat([head(x) for head, x in heads], dim=1)
        mixed = (logits * self.mix[1:].view(1, -1, 1, 1)).sum(dim=1, keepdim=True)
        return F.interpolate(mixed, scale_factor=2.0, mode="bilinear")
