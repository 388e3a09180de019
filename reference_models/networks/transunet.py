"""TransUNet: a ResNet and a vision transformer as the encoder, convolutions as the decoder.

J. Chen, Y. Lu, Q. Yu, X. Luo, E. Adeli, Y. Wang, L. Lu, A. L. Yuille, Y. Zhou, "TransUNet:
Transformers Make Strong Encoders for Medical Image Segmentation", 2021, arXiv:2102.04306. Its
R50-ViT-B/16; the ResNet is that of A. Kolesnikov et al., "Big Transfer (BiT): General Visual
Representation Learning", ECCV 2020, arXiv:1912.11370. The paper starts from weights learned on
ImageNet-21k; here it starts fresh.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from reference_models.networks.blocks import (
    Residual,
    SelfAttention,
    conv_bn_relu,
    mlp,
)

STEM = 64
BLOCKS = (3, 4, 9)  # bottlenecks of each stage, at 1/4, 1/8 and 1/16 of the image
STAGES = (256, 512, 1024)
WIDTH, HEADS, INNER, LAYERS, DROPOUT = 768, 12, 3072, 12, 0.1  # ViT-B
DECODER = (512, 256, 128, 64, 16)
SKIPS = (*STAGES[-2::-1], STEM, 0)  # the last decoder block has none


class StandardisedConv(nn.Conv2d):
    """A convolution whose weights have mean 0 and variance 1 for each output channel.

    S. Qiao, H. Wang, C. Liu, W. Shen, A. Yuille, "Micro-Batch Training with Batch-Channel
    Normalization and Weight Standardization", 2019, arXiv:1903.10520.
    """

    folded = False

    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight if self.folded else self._standardised()
        result: Tensor = self._conv_forward(x, weight, self.bias)
        return result

    def _standardised(self) -> Tensor:
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, correction=0)
        return (self.weight - mean) / torch.sqrt(variance + 1e-5)

    def fold(self) -> None:
        """Take the standardised weights for good: an export needs no more than them."""
        self.weight = nn.Parameter(self._standardised().detach())
        self.folded = True


def conv_gn(inputs: int, outputs: int, kernel: int, *, stride: int = 1) -> nn.Sequential:
    """A weight-standardised convolution and group norm."""
    return nn.Sequential(
        standardised_conv(inputs, outputs, kernel, stride=stride),
        nn.GroupNorm(32, outputs, eps=1e-6),
    )


def standardised_conv(inputs: int, outputs: int, kernel: int, *, stride: int) -> StandardisedConv:
    """Without bias, padded to keep the size but for the stride."""
    return StandardisedConv(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)


def bottleneck(inputs: int, outputs: int, stride: int) -> Residual:
    """1 x 1, 3 x 3, 1 x 1 beside the identity, or beside a projection where shapes change."""
    inner = outputs // 4
    convs = nn.Sequential(
        conv_gn(inputs, inner, 1),
        nn.ReLU(inplace=True),
        conv_gn(inner, inner, 3, stride=stride),
        nn.ReLU(inplace=True),
        conv_gn(inner, outputs, 1),
    )
    if stride == 1 and inputs == outputs:
        return Residual(convs)
    projection = standardised_conv(inputs, outputs, 1, stride=stride)
    return Residual(convs, nn.Sequential(projection, nn.GroupNorm(outputs, outputs)))


def stage(inputs: int, outputs: int, blocks: int, *, stride: int) -> nn.Sequential:
    """Bottlenecks of one resolution, the first of which comes down to it."""
    first = bottleneck(inputs, outputs, stride)
    return nn.Sequential(first, *(bottleneck(outputs, outputs, 1) for _ in range(blocks - 1)))


class TransformerLayer(nn.Module):
    """x + attention(LN(x)), then x + MLP(LN(x))."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(WIDTH, eps=1e-6)
        self.attention = SelfAttention(WIDTH, HEADS, (tokens,))
        self.norm_mlp = nn.LayerNorm(WIDTH, eps=1e-6)
        self.mlp = mlp(WIDTH, INNER, DROPOUT)
        for part in self.mlp:
            if isinstance(part, nn.Linear):
                nn.init.xavier_uniform_(part.weight)
                nn.init.normal_(part.bias, std=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_attention(x))
        result: Tensor = x + self.mlp(self.norm_mlp(x))
        return result


class VisionTransformer(nn.Module):
    """A map (N, 1024, h, w) as h w tokens through the transformer, and back as (N, 768, h, w)."""

    def __init__(self, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        tokens = grid[0] * grid[1]
        self.embed = nn.Conv2d(STAGES[-1], WIDTH, 1)
        self.position = nn.Parameter(torch.zeros(1, tokens, WIDTH))
        self.dropout = nn.Dropout(DROPOUT)
        self.layers = nn.Sequential(*(TransformerLayer(tokens) for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x).reshape(-1, WIDTH, self.position.shape[1]).transpose(1, 2)
        tokens = self.norm(self.layers(self.dropout(tokens + self.position)))
        result: Tensor = tokens.transpose(1, 2).reshape(-1, WIDTH, *self.grid)
        return result


def decoder_block(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3 x 3 convolutions without bias, each with batch norm and ReLU."""
    return nn.Sequential(
        conv_bn_relu(inputs, outputs, bias=False), conv_bn_relu(outputs, outputs, bias=False)
    )


class TransUNet(nn.Module):
    """TransUNet for images of one size.

    Args:
        in_channels: channels of the image; a single one is repeated to three.
        size: (height, width) of the image, multiples of 16.
    """

    def __init__(self, in_channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.repeats = 3 if in_channels == 1 else 1
        self.stem = nn.Sequential(
            conv_gn(self.repeats * in_channels, STEM, 7, stride=2), nn.ReLU(inplace=True)
        )
        self.stages = nn.ModuleList(
            stage(inputs, outputs, blocks, stride=stride)
            for (inputs, outputs), blocks, stride in zip(
                pairwise((STEM, *STAGES)), BLOCKS, (1, 2, 2), strict=True
            )
        )
        self.transformer = VisionTransformer((size[0] // 16, size[1] // 16))
        self.widen = conv_bn_relu(WIDTH, DECODER[0], bias=False)
        self.enlarge = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.decoder = nn.ModuleList(
            decoder_block(deep + skip, shallow)
            for (deep, shallow), skip in zip(pairwise(DECODER), SKIPS, strict=True)
        )
        self.head = nn.Conv2d(DECODER[-1], 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, C, H, W) images of the given size to (N, 1, H, W) logits."""
        x, skips = self._encode(torch.cat((image,) * self.repeats, dim=1))
        x = self.widen(self.transformer(x))
        for decode in self.decoder:
            x = self.enlarge(x)
            x = decode(torch.cat((x, skips.pop()), dim=1) if skips else x)
        logits: Tensor = self.head(x)
        return logits

    def _encode(self, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        stem = self.stem(image)
        # Pooling without padding comes out one short of a quarter; only the skip is filled up.
        quarter = self.stages[0](F.max_pool2d(stem, 3, 2))
        eighth = self.stages[1](quarter)
        return self.stages[2](eighth), [stem, F.pad(quarter, (0, 1, 0, 1)), eighth]
