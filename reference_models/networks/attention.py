"""Multi-head self-attention and the MLP beside it, as TransUNet and Swin-Unet share them.

A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762; as in
A. Dosovitskiy et al., "An Image is Worth 16x16 Words: Transformers for Image Recognition at
Scale", ICLR 2021, arXiv:2010.11929.
"""

from __future__ import annotations

from torch import Tensor, nn


class SelfAttention(nn.Module):
    """Softmax(q k / sqrt(d)) v within each set of tokens.

    All sizes but the batch are fixed, so that the export holds no arithmetic on shapes.

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
