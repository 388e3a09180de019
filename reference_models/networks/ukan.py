"""U-KAN: convolutions above, tokens through layers of learned functions below, skips added.

C. Li, X. Liu, W. Li, C. Wang, H. Liu, Y. Liu, Z. Chen, Y. Yuan, "U-KAN Makes Strong Backbone for
Medical Image Segmentation and Generation", AAAI 2025, arXiv:2406.02918; the layers after Z. Liu et
al., "KAN: Kolmogorov-Arnold Networks", ICLR 2025, arXiv:2404.19756.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reference_models.networks.blocks import at_least_float32, conv_bn_relu, double_conv
from reference_models.networks.unext import initialise_tokens, to_map, to_tokens, with_skips

WIDTHS = (256, 320, 512)  # of the deepest convolutions, and of the two levels of tokens
WIDTHS_SMALL = (128, 160, 256)
INTERVALS = 5  # of the splines on [-1, 1]
BASES = INTERVALS + 3  # cubic
DEPTH = 3  # linear maps of a block
NOISE = 0.1  # how far splines start from zero, times the width of an interval


class KANLinear(nn.Module):
    """A linear map of SiLU(x) and of cubic B-splines of x, for tokens (..., inputs).

    Each pair of input and output has a weight, a spline of its own, and a factor of the spline.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.base = nn.Parameter(torch.empty(outputs, inputs))
        self.spline = nn.Parameter(torch.empty(outputs, inputs, BASES))
        self.factor = nn.Parameter(torch.empty(outputs, inputs))
        self.centres: Tensor
        self.register_buffer("centres", torch.arange(BASES) - 1.0, persistent=False)
        for weight in (self.base, self.factor):
            nn.init.kaiming_uniform_(weight, a=math.sqrt(5))
        # The smallest coefficients of splines through noise at the ends of the intervals.
        with torch.no_grad():
            knots = torch.linspace(-1, 1, INTERVALS + 1)
            noise = (torch.rand(outputs, inputs, INTERVALS + 1) - 0.5) * NOISE / INTERVALS
            self.spline.copy_(noise @ torch.linalg.pinv(self.bases(knots)).T)

    def bases(self, x: Tensor) -> Tensor:
        """The cubic B-splines on equal intervals at x (...), as (..., BASES).

        M(d) = ((2 - |d|)+^3 - 4 (1 - |d|)+^3) / 6, d the distance from the centre in intervals
        (C. de Boor, "A Practical Guide to Splines", 1978, chapter IX).
        """
        intervals = (at_least_float32(x) + 1) * (INTERVALS / 2)
        apart = (intervals.unsqueeze(-1) - self.centres).abs()
        return (F.relu(2 - apart) ** 3 - 4 * F.relu(1 - apart) ** 3) / 6

    def forward(self, x: Tensor) -> Tensor:
        splines = (self.spline * self.factor.unsqueeze(-1)).flatten(1)
        return F.linear(F.silu(x), self.base) + F.linear(self.bases(x).flatten(-2), splines)


class KANBlock(nn.Module):
    """x + layers(LN(x)), then a norm, on a map (N, C, H, W).

    Args:
        channels: C.
        embedded: whether the map is freshly embedded, and so normed first.
    """

    def __init__(self, channels: int, *, embedded: bool) -> None:
        super().__init__()
        self.norm_embedded = nn.LayerNorm(channels) if embedded else nn.Identity()
        self.norm = nn.LayerNorm(channels)
        self.linear = nn.ModuleList(KANLinear(channels, channels) for _ in range(DEPTH))
        self.convs = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1, groups=channels),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
            )
            for _ in range(DEPTH)
        )
        self.norm_after = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm_embedded(to_tokens(x))
        y = self.norm(tokens)
        for linear, conv in zip(self.linear, self.convs, strict=True):
            y = to_tokens(conv(to_map(linear(y))))
        return to_map(self.norm_after(tokens + y))


class UKAN(nn.Module):
    """U-KAN as published.

    Args:
        in_channels: channels of the image.
        widths: of the deepest convolutions, and of the two levels of tokens.
    """

    def __init__(self, in_channels: int, widths: tuple[int, int, int] = WIDTHS) -> None:
        super().__init__()
        deepest, *tokens = widths
        convs = (deepest // 8, deepest // 4, deepest)
        self.conv_down = nn.ModuleList(
            nn.Sequential(double_conv(inputs, outputs), nn.MaxPool2d(2), nn.ReLU())
            for inputs, outputs in pairwise((in_channels, *convs))
        )
        self.token_down = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), KANBlock(outputs, embedded=True)
            )
            for inputs, outputs in pairwise(widths)
        )
        self.up = nn.ModuleList(
            nn.Sequential(
                conv_bn_relu(inputs, inputs),
                conv_bn_relu(inputs, outputs),
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
                nn.ReLU(),
            )
            for inputs, outputs in pairwise((*tokens[::-1], *convs[::-1], convs[0]))
        )
        self.token_up = nn.ModuleList(
            KANBlock(width, embedded=False) for width in (tokens[0], deepest)
        )
        self.head = nn.Conv2d(convs[0], 1, 1)
        for part in (self.token_down, self.token_up):
            part.apply(initialise_tokens)

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, C, H, W) images to (N, 1, H, W) logits; H and W are multiples of 32."""
        *up, last = self.up
        x = with_skips(image, (*self.conv_down, *self.token_down), up, tokens=self.token_up)
        logits: Tensor = self.head(last(x))
        return logits


def ukan_s(in_channels: int) -> UKAN:
    """U-KAN of half the widths."""
    return UKAN(in_channels, WIDTHS_SMALL)
