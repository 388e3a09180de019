"""Axial attention: each pixel attends to those of its column, or of its row.

H. Wang, Y. Zhu, B. Green, H. Adam, A. Yuille, L.-C. Chen, "Axial-DeepLab: Stand-Alone
Axial-Attention for Panoptic Segmentation", ECCV 2020, arXiv:2003.07853; gated as in MedT (see
`medt.py`).

The batch norm of similarities is a scale, because softmax ignores what all similarities of a pixel
share, and the scale follows from sums over the features alone: so no similarity is ever stored.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from reference_models.networks.attention_by_lines import ByLines, ShortLines, attended
from reference_models.networks.blocks import at_least_float32

GROUPS = 8  # heads
HEIGHT, WIDTH = 2, 3  # axes of (N, C, H, W)

Size = tuple[int, int]  # height and width of a feature
Sums = tuple[Tensor, Tensor]  # of numbers and of their squares, (GROUPS,) each


class AxialAttention(nn.Module):
    """Attention of each pixel to those of its column, or of its row.

    Args:
        channels: C, a multiple of 16.
        size: (H, W) of the feature.
        axis: `HEIGHT` to attend within columns, `WIDTH` within rows.
        terms: how many similarities, and how many contents, are normed and summed.
    """

    def __init__(
        self, channels: int, size: Size, axis: int, *, terms: tuple[int, int] = (1, 1)
    ) -> None:
        super().__init__()
        self.channels, self.axis, self.terms = channels, axis, terms
        self.value_width = channels // GROUPS  # of one head
        self.key_width = self.value_width // 2
        self.length, self.others = size if axis == HEIGHT else size[::-1]
        self.qkv = nn.Conv2d(channels, 2 * channels, 1, bias=False)
        self.norm_qkv = nn.BatchNorm2d(2 * channels)
        self.norm_similarity = nn.BatchNorm2d(terms[0] * GROUPS)
        self.norm_content = nn.BatchNorm2d(terms[1] * channels)
        nn.init.normal_(self.qkv.weight, std=channels**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape, in float32 under autocast too."""
        # A line is a column or a row, L of them, and T its pixels.
        axes = (0, 3, 1, 2) if self.axis == HEIGHT else (0, 2, 1, 3)
        shape = (-1, GROUPS, 2 * self.value_width, self.length)
        wide = _own_layout(self.norm_qkv(self.qkv(x)))
        lines = at_least_float32(wide.permute(axes).reshape(shape))
        sizes = [self.key_width, self.key_width, self.value_width]
        with _full_precision(x.device.type):
            maps = self._maps(self.contents(*torch.split(lines, sizes, dim=2)))
            return self._summed(_own_layout(self.norm_content(maps)))

    def contents(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """What each pixel takes in, `terms[1]` tensors of (L GROUPS, c, T)."""
        (scale,) = self.scales(query, lambda: (products(query, key),))
        lines = (self._flat(query * scale, self.key_width), self._flat(key, self.key_width))
        values = self._flat(value, self.value_width)
        if torch.onnx.is_in_onnx_export():  # one graph of plain operators
            likeness = lines[0].transpose(1, 2) @ lines[1]
            return (values @ likeness.softmax(dim=-1).transpose(1, 2),)
        result: Tensor = ShortLines.apply(*lines, values)  # type: ignore[no-untyped-call]
        return (result,)

    def scales(self, query: Tensor, sums: Callable[[], tuple[Sums, ...]]) -> Tensor:
        """The norm of the similarities as factors (terms, GROUPS, 1, 1).

        Args:
            query: (L, GROUPS, c, T); of each term there are L T T similarities.
            sums: gives each term's sums; called in training alone.
        """
        norm, count = self.norm_similarity, len(query) * self.length**2
        variance = norm.running_var
        assert variance is not None and norm.running_mean is not None
        if norm.training:
            total, squares = (torch.cat(parts) / count for parts in zip(*sums(), strict=True))
            variance = (squares - total.square()).clamp(min=0)
            _track(norm, total.detach(), variance.detach() * count / (count - 1))
        factors = norm.weight * torch.rsqrt(variance + norm.eps)
        return factors.reshape(self.terms[0], GROUPS, 1, 1)

    def _flat(self, lines: Tensor, width: int) -> Tensor:
        """(L, GROUPS, width, T) as (L GROUPS, width, T)."""
        return lines.reshape(-1, width, self.length)

    def _maps(self, contents: tuple[Tensor, ...]) -> Tensor:
        """Contents, (L GROUPS, c, T) each, as (N, C terms, H, W)."""
        shape = (-1, self.others, self.terms[1] * self.channels, self.length)
        axes = (0, 2, 3, 1) if self.axis == HEIGHT else (0, 2, 1, 3)
        one = contents[0] if len(contents) == 1 else torch.stack(contents, dim=2)
        return one.reshape(shape).permute(axes).contiguous()

    def _summed(self, maps: Tensor) -> Tensor:
        """(N, C terms, H, W) as (N, C, H, W)."""
        if self.terms[1] == 1:
            return maps
        sizes = (self.length, self.others) if self.axis == HEIGHT else (self.others, self.length)
        return maps.reshape(-1, self.channels, self.terms[1], *sizes).sum(dim=2)


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

    def contents(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        for_query, for_key, for_value = self._positions()
        for_query, for_key = self.gates["query"] * for_query, self.gates["key"] * for_key
        like, by_query, by_key = self.scales(
            query,
            lambda: (products(query, key), lookups(query, for_query), lookups(key, for_key)),
        )
        scaled = (query * like, key, query * by_query, key * by_key)
        inputs = (
            *(self._flat(x, self.key_width) for x in scaled),
            self.gates["value"] * self._flat(value, self.value_width),
            for_query,
            for_key.transpose(1, 2).contiguous(),
            self.gates["position"] * for_value,
        )
        if torch.onnx.is_in_onnx_export():  # one graph of plain operators
            return attended(*inputs)
        result: tuple[Tensor, Tensor] = ByLines.apply(*inputs)  # type: ignore[no-untyped-call]
        return result

    def _positions(self) -> tuple[Tensor, ...]:
        """For query, key and value: (c, T, T), by the pixel itself and its partner."""
        if torch.onnx.is_in_onnx_export():  # this one is not folded into a table of weights
            shaped = self.relative[:, self.offset]
        else:  # the gradient of an index that occurs often is slow on a GPU
            pairs = self.relative.index_select(1, self.offset.flatten())
            shaped = pairs.reshape(-1, self.length, self.length)
        return torch.split(shaped, [self.key_width, self.key_width, self.value_width])


def products(query: Tensor, key: Tensor) -> Sums:
    """The sums of q_i k_j, and of its squares, over all pairs of pixels of all lines.

    Sums of squares of products are products of Gram matrices, so no pair is looked at.

    Args:
        query, key: (L, GROUPS, c, T).

    Returns:
        (GROUPS,) each.
    """
    total = (query.sum(dim=3) * key.sum(dim=3)).sum(dim=(0, 2))
    first, second = (x @ x.transpose(2, 3) for x in (query, key))
    return total, (first * second).sum(dim=(0, 2, 3))


def lookups(feature: Tensor, places: Tensor) -> Sums:
    """The sums of x_i r_ij, and of its squares, over all pairs of pixels of all lines.

    Args:
        feature: (L, GROUPS, c, T).
        places: (c, T, T), by the pixel itself and the one it is set against.

    Returns:
        (GROUPS,) each.
    """
    total = (feature.sum(dim=0) * places.sum(dim=2)).sum(dim=(1, 2))
    of_feature = torch.einsum("lgct,lgdt->gcdt", feature, feature)
    of_places = torch.einsum("cij,dij->cdi", places, places)
    return total, (of_feature * of_places).sum(dim=(1, 2, 3))


def _own_layout(x: Tensor) -> Tensor:
    """What batch norm gave; its gradient comes in the same layout.

    With two layouts, the gradient of batch norm takes ten times as long on a CPU.
    """
    last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    if x.requires_grad:
        x.register_hook(  # type: ignore[no-untyped-call]
            lambda gradient: gradient.contiguous(memory_format=layout)
        )
    return x


def _full_precision(device: str) -> AbstractContextManager[Any]:
    """Float32 under autocast too: sums of squares would not survive less."""
    if torch.amp.is_autocast_available(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


@torch.no_grad()
def _track(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Take a batch into the running statistics, as batch norm itself does."""
    assert norm.running_mean is not None and norm.running_var is not None
    assert norm.num_batches_tracked is not None and norm.momentum is not None
    norm.num_batches_tracked.add_(1)
    norm.running_mean.lerp_(mean, norm.momentum)
    norm.running_var.lerp_(variance, norm.momentum)
