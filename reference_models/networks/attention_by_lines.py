"""Attention within lines and its gradient, for `axial.py`.

A similarity is computed for every pair of pixels of a line: 112 times as many numbers as a feature
of 112 x 112 pixels has. So these are never stored: those of a few lines are computed, used, and
computed again in the backward pass. Those of short lines, without terms for places, are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

# Similarities computed at a time: within a core's cache on a CPU, within 256 MB on a GPU.
CHUNK_CPU, CHUNK_GPU = 3 * 2**16, 2**26
SHORT = 16  # below it, softmax on a CPU takes ten times as long for a number


class ByLines(torch.autograd.Function):
    """`attended` of few lines at a time, whose similarities are computed twice, never kept.

    The forward pass keeps the logarithm of each pixel's sum of exponentials. As one more term of
    the similarities it makes softmax a mere exponential in the backward pass; and what softmax
    subtracts from its gradient is one more term of that: T. Dao, D. Fu, S. Ermon, A. Rudra, C. Re,
    "FlashAttention", NeurIPS 2022, arXiv:2205.14135.
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        *lines, value, for_query, for_key, for_value = inputs
        found = []
        (buffer,) = _buffers(value, 1)
        for *part, values in _chunks(*lines, value):
            likeness = _likeness(*part, for_query, for_key, out=buffer[: len(values)])
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
    @once_differentiable
    def backward(ctx: Any, *above: Tensor) -> tuple[Tensor, ...]:
        query, key, looking, looked_at, value, *shared, content, place, logarithm = (
            ctx.saved_tensors
        )
        mean = (above[0] * content + above[1] * place).sum(dim=1, keepdim=True)
        lines = (
            torch.cat((query, -logarithm.transpose(1, 2)), dim=1),
            _with_ones(key),
            looking,
            looked_at,
            torch.cat((above[0], -mean), dim=1),
            above[1],
            _with_ones(value),
        )
        tables = [x.new_zeros(x.transpose(0, 1).shape) for x in shared]
        buffers = _buffers(value, 3)
        own = tuple(torch.empty_like(x) for x in (query, key, looking, looked_at, value))
        for part, into in zip(_chunks(*lines), _chunks(*own), strict=True):
            _gradients(into, part, shared, tables=tables, buffers=buffers)
        return (*own, *(x.transpose(0, 1) for x in tables))


def _gradients(
    into: tuple[Tensor, ...],
    lines: tuple[Tensor, ...],
    shared: list[Tensor],
    *,
    tables: list[Tensor],
    buffers: list[Tensor],
) -> None:
    """Write the gradients of a part's five own inputs; add those of the shared ones to `tables`.

    Args:
        into: of query, key, looking, looked_at and value, (B, c, T) each.
        lines: query, with one channel of minus the logarithm; key, with one of ones; looking;
            looked_at; the gradients of contents, with one channel of minus the mean that softmax
            subtracts, and of places; value, with one channel of ones.
        shared: (c, T, T) for query, key and value.
        tables: (T, c, T) for these.
        buffers: three of `_buffers`.
    """
    query, key, looking, looked_at, of_content, of_place, value = lines
    for_query, for_key, for_value = shared
    here, there, turned = (buffer[: len(query)] for buffer in buffers)
    torch.bmm(query.transpose(1, 2), key, out=here)
    weights = _with_places(here, looking, looked_at, for_query, for_key).exp_()
    by_pixel = weights.transpose(0, 1)  # (T, B, T)
    # (T, c, B), copied: products of many small matrices would otherwise go one by one.
    own, own_place = (x.permute(2, 1, 0).contiguous() for x in (looking, of_place))
    torch.bmm(of_content[:, :-1], weights, out=into[4])
    tables[2].baddbmm_(own_place, by_pixel)
    given = turned.view(by_pixel.shape)
    torch.bmm(own_place.transpose(1, 2), for_value.transpose(0, 1), out=given)
    likeness = torch.bmm(of_content.transpose(1, 2), value, out=there).add_(given.transpose(0, 1))
    likeness.mul_(weights)
    by_pixel = likeness.transpose(0, 1)
    tables[0].baddbmm_(own, by_pixel)
    torch.bmm(key[:, :-1], likeness.transpose(1, 2), out=into[0])
    torch.bmm(query[:, :-1], likeness, out=into[1])
    of_looking = torch.bmm(for_query.transpose(0, 1), by_pixel.transpose(1, 2))
    into[2].copy_(of_looking.permute(2, 1, 0))
    for c in range(looked_at.shape[1]):  # a product of matrices would first copy
        torch.sum(torch.mul(likeness, for_key[c], out=weights), dim=1, out=into[3][:, c])
        seen = torch.mul(likeness, looked_at[:, c, None], out=weights)
        tables[1][:, c] += seen.sum(dim=0)


class ShortLines(torch.autograd.Function):
    """Attention of all lines at once, kept for the backward pass.

    Takes query and key (B, c, T) and value (B, d, T), and gives (B, d, T).
    """

    @staticmethod
    def forward(  # noqa: PLR0917  as autograd counts them
        ctx: Any, query: Tensor, key: Tensor, value: Tensor
    ) -> Tensor:
        turned = query.transpose(1, 2)
        # Many products of two vectors take five times as long as this.
        likeness = turned * key if query.shape[1] == 1 else torch.bmm(turned, key)
        attention = _softmax(likeness)
        content = torch.bmm(value, attention.transpose(1, 2))
        ctx.save_for_backward(query, key, value, attention, content)
        return content

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, ...]:
        query, key, value, attention, content = ctx.saved_tensors
        mean = (above * content).sum(dim=1, keepdim=True)
        over = torch.cat((above, -mean), dim=1).transpose(1, 2)
        likeness = torch.bmm(over, _with_ones(value)).mul_(attention)
        return (
            torch.bmm(key, likeness.transpose(1, 2)),
            torch.bmm(query, likeness),
            torch.bmm(above, attention),
        )


def _softmax(likeness: Tensor) -> Tensor:
    """Softmax along the last axis, in place where that is faster."""
    if likeness.is_cuda or likeness.shape[-1] >= SHORT:
        return likeness.softmax(dim=-1)
    weights = likeness.sub_(likeness.amax(dim=-1, keepdim=True)).exp_()
    return weights.div_(weights.sum(dim=-1, keepdim=True))


def _with_ones(lines: Tensor) -> Tensor:
    """(B, c, T) with one more channel, of ones."""
    return F.pad(lines, (0, 0, 0, 1), value=1.0)


def _chunks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Tensors of lines in parts, views all."""
    step = _step(tensors[0])
    return zip(*(torch.split(x, step) for x in tensors), strict=True)


def _buffers(lines: Tensor, count: int) -> list[Tensor]:
    """Memory for the similarities of a part, which stay in the cache from part to part."""
    size = lines.shape[-1]
    return [lines.new_empty(min(_step(lines), len(lines)), size, size) for _ in range(count)]


def _step(lines: Tensor) -> int:
    """Lines of a part."""
    limit = CHUNK_GPU if lines.is_cuda else CHUNK_CPU
    return max(1, limit // lines.shape[-1] ** 2)


def attended(*inputs: Tensor) -> tuple[Tensor, Tensor]:
    """What each pixel takes in of the others' values, and of their places: (B, c, T) each.

    Args:
        inputs: query, key, looking, looked_at, value; for_query, for_key, for_value; as those of
            `_likeness` and `_sums`.
    """
    *lines, value, for_query, for_key, for_value = inputs
    return _sums(_likeness(*lines, for_query, for_key).softmax(dim=-1), value, for_value)


def _likeness(query: Tensor, key: Tensor, *places: Tensor, out: Tensor | None = None) -> Tensor:
    """The similarity of each pixel to each other of its line, (B, T, T).

    Args:
        query, key: (B, c, T), scaled.
        places: as of `_with_places`.
        out: where to write, (B, T, T).
    """
    first, *others = ((query[:, c, :, None], key[:, c, None]) for c in range(query.shape[1]))
    likeness = torch.mul(*first, out=out)
    for a, b in others:
        likeness = likeness.addcmul_(a, b)
    return _with_places(likeness, *places)


def _with_places(  # noqa: PLR0917  in the order of `attended`
    likeness: Tensor, looking: Tensor, looked_at: Tensor, for_query: Tensor, for_key: Tensor
) -> Tensor:
    """Add to similarities (B, T, T), in place, both terms for the offset of two pixels.

    Args:
        looking, looked_at: (B, c, T), scaled for each of the terms.
        for_query, for_key: (c, T, T), by the pixel that looks and the one looked at.
    """
    terms = ((looking.unsqueeze(3), for_query), (looked_at.unsqueeze(2), for_key))
    for lines, table in terms:
        for a, b in zip(lines.unbind(1), table.unbind(), strict=True):
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
    places = torch.bmm(for_value.transpose(0, 1), weights.permute(1, 2, 0))  # (T, c, B)
    return torch.bmm(value, weights.transpose(1, 2)), places.permute(2, 1, 0)
