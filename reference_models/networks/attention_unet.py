"""Attention U-Net: what comes from below decides which parts of a skip pass.

O. Oktay, J. Schlemper, L. Le Folgoc, M. Lee, M. Heinrich, K. Misawa, K. Mori, S. McDonagh,
N. Y. Hammerla, B. Kainz, B. Glocker, D. Rueckert, "Attention U-Net: Learning Where to Look for the
Pancreas", MIDL 2018, arXiv:1804.03999. As in comparisons since, the gating signal is the decoder
feature after it was upsampled, so that both meet at the skip's resolution.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reference_models.networks.unet import SKIP_WIDTHS, UNet


class AttentionGate(nn.Module):
    """Additive attention: a = sigma(psi(ReLU(W_g g + W_x x))), and a x passes.

    Args:
        channels: of the skip x and of the gating signal g.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.from_signal = pointwise_norm(channels, inner)
        self.from_skip = pointwise_norm(channels, inner)
        self.psi = pointwise_norm(inner, 1)

    def forward(self, skip: Tensor, up: Tensor) -> Tensor:
        attention = self.psi(F.relu(self.from_signal(up) + self.from_skip(skip)))
        return skip * torch.sigmoid(attention)


def pointwise_norm(inputs: int, outputs: int) -> nn.Sequential:
    """A biased 1 x 1 convolution and batch norm."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1), nn.BatchNorm2d(outputs))


def attention_unet(in_channels: int) -> UNet:
    """U-Net with an attention gate on each skip."""
    return UNet(in_channels, gates=map(AttentionGate, SKIP_WIDTHS))
