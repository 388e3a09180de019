"""Axial attention within rows or columns, plain and gated, as MedT uses it.

J. M. J. Valanarasu, P. Oza, I. Hacihaliloglu, V. M. Patel, "Medical Transformer: Gated
Axial-Attention for Medical Image Segmentation", MICCAI 2021, arXiv:2102.10662; after H. Wang,
Y. Zhu, B. Green, H. Adam, A. Yuille, L.-C. Chen, "Axial-DeepLab: Stand-Alone Axial-Attention for
Panoptic Segmentation", ECCV 2020, arXiv:2003.07853.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

GROUPS = 8  # heads
HEIGHT, WIDTH = 2, 3  # axes of (N, C, H, W)

Size = tuple[int, int]  # height and width of a feature


class AxialAttention(nn.Module):
    """Attention of each pixel to those of its column, or of its row.

    Args:
        channels: C, a multiple of 16.
        size: (H, W) of the feature.
        axis: `HEIGHT` to attend within columns, `WIDTH` within rows.
        terms: how many similarities, and how many contents, are normed and summed.
    """

    def __init__(
        self, channels: int, size: Size, axis: int, terms: tuple[int, int] = (1, 1)
    ) -> None:
        super().__init__()
        self.channels, self.size, self.axis, self.terms = channels, size, axis, terms
        self.value_width = channels // GROUPS  # of one head
        self.key_width = self.value_width // 2
        self.length, self.others = size if axis == HEIGHT else size[::-1]
        self.qkv = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        self.norm_qkv = nn.BatchNorm2d(2 * channels)
        self.norm_similarity = nn.BatchNorm2d(terms[0] * GROUPS)
        self.norm_content = nn.BatchNorm2d(terms[1] * channels)
        nn.init.normal_(self.qkv.weight, std=channels**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        # Below, T is the axis attended to: q, k and v are (N, others, GROUPS, T, c).
        grouped = self.norm_qkv(self.qkv(x)).reshape(-1, GROUPS, 2 * self.value_width, *self.size)
        axes = (0, 4, 1, 3, 2) if self.axis == HEIGHT else (0, 3, 1, 4, 2)
        sizes = [self.key_width, self.key_width, self.value_width]
        query, key, value = torch.split(grouped.permute(axes), sizes, dim=4)
        terms = torch.cat(self.similarities(query, key), dim=2)
        maps = terms.reshape(-1, self.terms[0] * GROUPS, self.length, self.length)
        shape = (-1, self.others, self.terms[0], GROUPS, self.length, self.length)
        attention = self.norm_similarity(maps).reshape(shape).sum(dim=2).softmax(dim=-1)
        return self._gather(torch.stack(self.contents(attention, value), dim=-1))

    def similarities(self, query: Tensor, key: Tensor) -> tuple[Tensor, ...]:
        """How much each pixel (second to last axis) likes each other, (N, others, GROUPS, T, T)."""
        turned = key.transpose(-1, -2)
        # Over a single channel a matrix product is a plain multiplication.
        return (query * turned if self.key_width == 1 else query @ turned,)

    def contents(self, attention: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """What each pixel takes in, (N, others, GROUPS, T, c)."""
        return (attention @ value,)

    def _gather(self, contents: Tensor) -> Tensor:
        """Norm and sum (N, others, GROUPS, T, c, terms), and give (N, C, H, W)."""
        axes = (0, 2, 4, 5, 3, 1) if self.axis == HEIGHT else (0, 2, 4, 5, 1, 3)
        maps = contents.permute(axes).reshape(-1, self.terms[1] * self.channels, *self.size)
        shape = (-1, self.channels, self.terms[1], *self.size)
        result: Tensor = self.norm_content(maps).reshape(shape).sum(dim=2)
        return result


class GatedAxialAttention(AxialAttention):
    """With learned terms for the offset between two pixels, each let in by a learned gate."""

    def __init__(self, channels: int, size: Size, axis: int) -> None:
        super().__init__(channels, size, axis, terms=(3, 2))
        length = self.length
        self.relative = nn.Parameter(torch.empty(2 * self.value_width, 2 * length - 1))
        nn.init.normal_(self.relative, std=self.value_width**-0.5)
        index = torch.arange(length)
        self.offset: Tensor
        self.register_buffer("offset", index[:, None] - index + length - 1, persistent=False)
        gates = {"query": 0.1, "key": 0.1, "value": 1.0, "position": 0.1}
        self.gates = nn.ParameterDict({name: torch.tensor(open_) for name, open_ in gates.items()})

    def _positions(self) -> tuple[Tensor, ...]:
        """For query, key and value: (c, T, T), by the pixel that looks and the one looked at."""
        return torch.split(
            self.relative[:, self.offset], [self.key_width, self.key_width, self.value_width]
        )

    def similarities(self, query: Tensor, key: Tensor) -> tuple[Tensor, ...]:
        for_query, for_key, _ = self._positions()
        shape = (self.key_width, self.length)
        by_query = self._each_pixel(query, self.gates["query"] * for_query.transpose(0, 1), shape)
        by_key = self._each_pixel(key, self.gates["key"] * for_key.transpose(0, 1), shape)
        return *super().similarities(query, key), by_query, by_key.transpose(-1, -2)

    def contents(self, attention: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        for_value = self.gates["position"] * self._positions()[2].permute(1, 2, 0)
        by_position = self._each_pixel(attention, for_value, (self.length, self.value_width))
        return *super().contents(attention, self.gates["value"] * value), by_position

    def _each_pixel(self, x: Tensor, matrices: Tensor, shape: tuple[int, int]) -> Tensor:
        """Multiply row t of x (N, others, GROUPS, T, a) with matrix t of (T, a, b).

        One batched product, the pixel t being the batch.

        Args:
            shape: (a, b).
        """
        if shape[0] == 1:
            return x * matrices[:, 0]
        rows = x.permute(3, 0, 1, 2, 4).reshape(self.length, -1, shape[0])
        products = (rows @ matrices).reshape(self.length, -1, self.others, GROUPS, shape[1])
        return products.permute(1, 2, 3, 0, 4)
