"""Parts that several networks share: convolutions, attention, and residual blocks."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def at_least_float32(x: Tensor) -> Tensor:
    """What autocast has made smaller, in float32 again."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def conv_bn(
    inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, bias: bool = False
) -> nn.Sequential:
    """A convolution, padded to keep the size but for the stride, and batch norm."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=bias),
        nn.BatchNorm2d(outputs),
    )


def conv_bn_relu(inputs: int, outputs: int, *, bias: bool = True) -> nn.Sequential:
    """A 3 x 3 convolution at the input's size, batch norm, ReLU."""
    return nn.Sequential(*conv_bn(inputs, outputs, bias=bias), nn.ReLU(inplace=True))


def conv_gelu_bn(inputs: int, outputs: int, kernel: int = 1, *, groups: int = 1) -> nn.Sequential:
    """A convolution at the input's size, GELU, batch norm."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups),
        nn.GELU(),
        nn.BatchNorm2d(outputs),
    )


class Residual(nn.Module):
    """ReLU of convolutions and what is beside them: the identity, or a projection."""

    def __init__(self, convs: nn.Module, beside: nn.Module | None = None) -> None:
        super().__init__()
        self.convs, self.beside = convs, beside or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to what `convs` makes of it."""
        return F.relu(self.beside(x) + self.convs(x))


class ContractingPath(nn.ModuleList):
    """The way down of U-Net: two convolutions a level, halved by max pooling in between.

    Args:
        in_channels: channels of the image.
        widths: channels of each level, top first.
    """

    def __init__(self, in_channels: int, widths: Sequence[int]) -> None:
        super().__init__(
            double_conv(inputs, outputs) for inputs, outputs in pairwise((in_channels, *widths))
        )

    def forward(self, image: Tensor) -> list[Tensor]:
        """Map images (N, C, H, W) to the feature of each level, top first."""
        features: list[Tensor] = []
        for level in self:
            features.append(level(F.max_pool2d(features[-1], 2) if features else image))
        return features


def double_conv(inputs: int, outputs: int) -> nn.Sequential:
    """U-Net's block: two 3 x 3 convolutions, each with batch norm and ReLU."""
    return nn.Sequential(conv_bn_relu(inputs, outputs), conv_bn_relu(outputs, outputs))


class SelfAttention(nn.Module):
    """Softmax(q k / sqrt(d)) v within each set of tokens, as TransUNet and Swin-Unet share it.

    A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762; as in
    A. Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at
    Scale", ICLR 2021, arXiv:2010.11929.

    All sizes but the batch are fixed, so that the export has no arithmetic on shapes.

    Args:
        width: channels C of a token.
        heads: divides C.
        shape: (T,) for one set of T tokens an image, (W, T) for W sets.
    """

    def __init__(self, width: int, heads: int, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape, self.heads, self.each = shape, heads, width // heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (N, *shape, C) to tokens of the same shape."""
        qkv = self.qkv(x).reshape(-1, *self.shape, 3 * self.heads, self.each).transpose(-2, -3)
        query, key, value = qkv.split(self.heads, dim=-3)  # each (N, ..., heads, T, C / heads)
        likeness = (query * self.each**-0.5) @ key.transpose(-1, -2)
        mixed = self.adjust(likeness).softmax(dim=-1) @ value
        width = self.heads * self.each
        result: Tensor = self.out(mixed.transpose(-2, -3).reshape(-1, *self.shape, width))
        return result

    def adjust(self, likeness: Tensor) -> Tensor:
        """What is done to (N, ..., heads, T, T) before the softmax: here nothing."""
        return likeness


def mlp(width: int, inner: int, dropout: float = 0.0) -> nn.Sequential:
    """Two linear maps with GELU in between, each followed by dropout."""
    return nn.Sequential(
        nn.Linear(width, inner),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(inner, width),
        nn.Dropout(dropout),
    )
