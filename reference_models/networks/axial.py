"""Axial attention: each pixel attends to those of its column, or of its row.

H. Wang, Y. Zhu, B. Green, H. Adam, A. Yuille, L.-C. Chen, "Axial-DeepLab: Stand-Alone
Axial-Attention for Panoptic Segmentation", ECCV 2020, arXiv:2003.07853; gated as in MedT (see
`medt.py`).

A similarity is computed for every pair of pixels of a line: 112 times as many numbers as a feature
of 112 x 112 pixels has. So these are never stored: a few lines at a time are computed, used, and
computed again in the backward pass. Their batch norm is a scale, because softmax ignores what all
similarities of a pixel share, and the scale follows from sums over the features alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from reference_models.networks.blocks import at_least_float32

GROUPS = 8  # heads
HEIGHT, WIDTH = 2, 3  # axes of (N, C, H, W)
# Similarities computed at a time: within a core's cache on a CPU, within 256 MB on a GPU.
CHUNK_CPU, CHUNK_GPU = 2**18, 2**26

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
        layout = torch.channels_last if _channels_last(x) else torch.contiguous_format
        axes = (0, 3, 1, 2) if self.axis == HEIGHT else (0, 2, 1, 3)
        shape = (-1, GROUPS, 2 * self.value_width, self.length)
        wide = _gradient_in(layout, self.norm_qkv(self.qkv(x)))
        lines = at_least_float32(wide.permute(axes).reshape(shape))
        sizes = [self.key_width, self.key_width, self.value_width]
        with _full_precision(x.device.type):
            maps = self._maps(self.contents(*torch.split(lines, sizes, dim=2)))
            normed = _gradient_in(layout, self.norm_content(maps.contiguous(memory_format=layout)))
            return self._summed(normed)

    def contents(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """What each pixel takes in, `terms[1]` tensors of (L GROUPS, c, T)."""
        (scale,) = self.scales(query, lambda: (products(query, key),))
        keys, values = self._flat(key, self.key_width), self._flat(value, self.value_width)
        likeness = self._flat(query * scale, self.key_width).transpose(1, 2) @ keys
        return ((likeness.softmax(dim=-1) @ values.transpose(1, 2)).transpose(1, 2),)

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
        return torch.stack(contents, dim=2).reshape(shape).permute(axes)

    def _summed(self, maps: Tensor) -> Tensor:
        """(N, C terms, H, W) as (N, C, H, W)."""
        if self.terms[1] == 1:
            return maps
        return maps.reshape(-1, self.channels, self.terms[1], *maps.shape[2:]).sum(dim=2)


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
            return _attended(*inputs)
        result: tuple[Tensor, Tensor] = _ByLines.apply(*inputs)  # type: ignore[no-untyped-call]
        return result

    def _positions(self) -> tuple[Tensor, ...]:
        """For query, key and value: (c, T, T), by the pixel itself and its partner."""
        if torch.onnx.is_in_onnx_export():  # this one is not folded into a table of weights
            shaped = self.relative[:, self.offset]
        else:  # the gradient of an index that occurs often is slow on a GPU
            pairs = self.relative.index_select(1, self.offset.flatten())
            shaped = pairs.reshape(-1, self.length, self.length)
        return torch.split(shaped, [self.key_width, self.key_width, self.value_width])


class _ByLines(torch.autograd.Function):
    """`_attended` of few lines at a time, whose similarities are computed twice, never kept.

    The forward pass keeps the logarithm of each pixel's sum of exponentials. As one more term of
    the similarities it makes softmax a mere exponential in the backward pass; and what softmax
    subtracts from its gradient is one more term of that: T. Dao, D. Fu, S. Ermon, A. Rudra, C. Re,
    "FlashAttention", NeurIPS 2022, arXiv:2205.14135.
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        *lines, value, for_query, for_key, for_value = inputs
        found = []
        (room,) = _rooms(value, 1)
        for *part, values in _chunks(*lines, value):
            likeness = _likeness(*part, for_query, for_key, out=room[: len(values)])
            largest = likeness.amax(dim=2, keepdim=True)
            weights = likeness.sub_(largest).exp_()
            total = weights.sum(dim=2, keepdim=True)
            sums = _sums(weights, values, for_value)
            found.append((*sums, total.transpose(1, 2), largest + total.log()))
        content, place, total, logarithm = (torch.cat(parts) for parts in zip(*found, strict=True))
        contents = content / total, place / total
        ctx.save_for_backward(*inputs, *contents, logarithm)
        return contents

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, ...]:
        query, key, looking, looked_at, value, *shared, content, place, logarithm = (
            ctx.saved_tensors
        )
        mean = (above[0] * content + above[1] * place).sum(dim=1, keepdim=True)
        over = (torch.cat((above[0], -mean), dim=1), above[1], F.pad(value, (0, 0, 0, 1), value=1.0))
        tables = [x.new_zeros(x.transpose(0, 1).shape) for x in shared]
        rooms = _rooms(value, 3)
        found = [
            _gradients(part, shared, tables, rooms)
            for part in _chunks(query, key, looking, looked_at, *over, -logarithm)
        ]
        own = (torch.cat(parts) for parts in zip(*found, strict=True))
        return (*own, *(x.transpose(0, 1) for x in tables))


def _gradients(
    lines: tuple[Tensor, ...], shared: list[Tensor], tables: list[Tensor], rooms: list[Tensor]
) -> tuple[Tensor, ...]:
    """The gradients of a part's five own inputs; those of the shared ones are added to `tables`.

    Args:
        lines: query; key; looking; looked_at; the gradients of contents, with one channel of minus
            the mean that softmax subtracts, and of places; value, with one channel of ones;
            minus the logarithms (B, T, 1).
        shared: (c, T, T) for query, key and value.
        tables: (T, c, T) for these.
        rooms: three of `_rooms`.
    """
    query, key, looking, looked_at, of_content, of_place, value, logarithm = lines
    for_query, for_key, for_value = shared
    here, there, turned = (room[: len(query)] for room in rooms)
    weights = _likeness(
        query, key, looking, looked_at, for_query, for_key, start=logarithm, out=here
    ).exp_()
    by_pixel = weights.transpose(0, 1)  # (T, B, T)
    # (T, c, B), copied: products of many small matrices would otherwise go one by one.
    own, own_place = (x.permute(2, 1, 0).contiguous() for x in (looking, of_place))
    of_value = of_content[:, :-1] @ weights
    tables[2].baddbmm_(own_place, by_pixel)
    given = turned.view(by_pixel.shape)
    torch.bmm(own_place.transpose(1, 2), for_value.transpose(0, 1), out=given)
    likeness = torch.bmm(of_content.transpose(1, 2), value, out=there).add_(given.transpose(0, 1))
    likeness.mul_(weights)
    by_pixel = likeness.transpose(0, 1)
    tables[0].baddbmm_(own, by_pixel)
    of_looking = for_query.transpose(0, 1) @ by_pixel.transpose(1, 2)
    of_looked_at = torch.empty_like(looked_at)
    for c in range(looked_at.shape[1]):  # a product of matrices would first copy
        torch.sum(torch.mul(likeness, for_key[c], out=weights), dim=1, out=of_looked_at[:, c])
        seen = torch.mul(likeness, looked_at[:, c, None], out=weights)
        tables[1][:, c] += seen.sum(dim=0)
    return (
        key @ likeness.transpose(1, 2),
        query @ likeness,
        of_looking.permute(2, 1, 0),
        of_looked_at,
        of_value,
    )


def _chunks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Tensors of lines in parts, views all."""
    step = _step(tensors[0])
    return zip(*(x.split(step) for x in tensors), strict=True)


def _rooms(lines: Tensor, count: int) -> list[Tensor]:
    """Places for the similarities of a part, which stay in the cache from part to part."""
    size = lines.shape[-1]
    return [lines.new_empty(min(_step(lines), len(lines)), size, size) for _ in range(count)]


def _step(lines: Tensor) -> int:
    """Lines of a part."""
    limit = CHUNK_GPU if lines.is_cuda else CHUNK_CPU
    return max(1, limit // lines.shape[-1] ** 2)


def _attended(*inputs: Tensor) -> tuple[Tensor, Tensor]:
    """What each pixel takes in of the others' values, and of their places: (B, c, T) each.

    Args:
        inputs: query, key, looking, looked_at, value; for_query, for_key, for_value; as those of
            `_likeness` and `_sums`.
    """
    *lines, value, for_query, for_key, for_value = inputs
    return _sums(_likeness(*lines, for_query, for_key).softmax(dim=-1), value, for_value)


def _likeness(  # noqa: PLR0917  one tensor each, as autograd counts them
    query: Tensor,
    key: Tensor,
    looking: Tensor,
    looked_at: Tensor,
    for_query: Tensor,
    for_key: Tensor,
    *,
    start: Tensor | None = None,
    out: Tensor | None = None,
) -> Tensor:
    """The similarity of each pixel to each other of its line, (B, T, T).

    Args:
        query, key, looking, looked_at: (B, c, T), scaled for each of the three similarities.
        for_query, for_key: (c, T, T), by the pixel that looks and the one looked at.
        start: (B, T, 1), what to add.
        out: where to write them, (B, T, T).
    """
    pairs = (
        (query.unsqueeze(3), key.unsqueeze(2)),
        (looking.unsqueeze(3), for_query.unsqueeze(0)),
        (looked_at.unsqueeze(2), for_key.unsqueeze(0)),
    )
    first, *others = [(a[:, c], b[:, c]) for c in range(query.shape[1]) for a, b in pairs]
    if start is not None:
        likeness = torch.addcmul(start, *first, out=out)
    else:
        likeness = torch.mul(*first, out=out)
    for a, b in others:
        likeness = likeness.addcmul_(a, b)
    return likeness


def _sums(weights: Tensor, value: Tensor, for_value: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted sums of the others' values, and of their places: (B, c, T) each.

    Args:
        weights: (B, T, T).
        value: (B, c, T).
        for_value: (c, T, T), by the pixel that looks and the one looked at.
    """
    # The few rows first: a product whose right matrix is narrow takes three times as long.
    places = for_value.transpose(0, 1) @ weights.permute(1, 2, 0)  # (T, c, B)
    return value @ weights.transpose(1, 2), places.permute(2, 1, 0)


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


def _channels_last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()


def _gradient_in(layout: torch.memory_format, x: Tensor) -> Tensor:
    """X itself, whose gradient comes in the layout: batch norm takes five times as long in two."""
    if x.requires_grad:
        x.register_hook(lambda gradient: gradient.contiguous(memory_format=layout))
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
