"""U-Net: a contracting path, an expanding path, and skips between them; and Attention U-Net.

U-Net: O. Ronneberger, P. Fischer, T. Brox, "U-Net: Convolutional Networks for Biomedical Image
Segmentation", MICCAI 2015, doi:10.1007/978-3-319-24574-4_28, arXiv:1505.04597. As in nearly all
later comparisons, convolutions are padded and normalised, and the way up is nearest-neighbour.

Attention U-Net: O. Oktay, J. Schlemper, L. Le Folgoc, M. Lee, M. Heinrich, K. Misawa, K. Mori,
S. McDonagh, N. Y. Hammerla, B. Kainz, B. Glocker, D. Rueckert, "Attention U-Net: Learning Where to
Look for the Pancreas", MIDL 2018, arXiv:1804.03999. As in comparisons since, the gating signal is
the decoder feature after it was upsampled, so that both meet at the skip's resolution.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reference_models.networks.blocks import (
    ContractingPath,
    conv_bn,
    conv_bn_relu,
    double_conv,
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
        *skips, deepest = self.encoder(image)
        x = self.bottom(deepest)
        for up, gate, decode in zip(self.up, self.gates, self.decoder, strict=True):
            x = up(x)
            x = decode(torch.cat((gate(skips.pop(), x), x), dim=1))
        logits: Tensor = self.head(x)
        return logits


class AttentionGate(nn.Module):
    """Additive attention: a = sigma(psi(ReLU(W_g g + W_x x))), and a x passes.

    Args:
        channels: of the skip x and of the gating signal g.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.from_signal = conv_bn(channels, inner, 1, bias=True)
        self.from_skip = conv_bn(channels, inner, 1, bias=True)
        self.psi = conv_bn(inner, 1, 1, bias=True)

    def forward(self, skip: Tensor, up: Tensor) -> Tensor:
        attention = self.psi(F.relu(self.from_signal(up) + self.from_skip(skip)))
        return skip * torch.sigmoid(attention)


def attention_unet(in_channels: int) -> UNet:
    """U-Net with an attention gate on each skip."""
    return UNet(in_channels, gates=map(AttentionGate, SKIP_WIDTHS))
