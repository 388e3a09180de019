"""Balanced partition of groups that must stay whole, so that every part looks like the whole.

Each group counts something in each column of a table (cases, classes, size quartiles, ...). A part
should have its share of every column; the cost of a partition is the sum of the squared distances
from that. The groups are dealt out one by one, then moved and swapped while that lowers the cost.
Everything is an integer, so that no library and no machine can round it another way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def share_out(
    counts: Integers, shares: Sequence[int], orders: Iterable[Sequence[int]]
) -> list[int]:
    """Give every group a part: the cheapest of what several orders of dealing lead to.

    Args:
        counts: (G, F), what each of G groups counts in each of F columns.
        shares: a positive integer a part; part p should have shares[p] / sum(shares) of a column.
        orders: permutations of the rows; this is where chance comes in. Ties go to the earlier
            order, and within one to the earlier row.

    Returns:
        The part of each group. No move of one group, and no swap of two, would lower the cost.
    """
    found = []
    for order in orders:
        table = _Table.of(counts[list(order)], shares)
        parts = _improve(table, _deal(table))
        found.append((_cost(table, parts), order, parts))
    _, order, parts = min(found, key=lambda candidate: candidate[0])
    return [int(part) for part in parts[np.argsort(order)]]


@dataclass(frozen=True)
class _Table:
    """The groups, and how they fall into kinds that are alike in every column."""

    counts: Integers  # (G, F)
    shares: Integers  # (P,)
    kinds: Integers  # (K + 1, F); the last is nothing at all, which turns a swap into a move
    kind_of: Integers  # (G,)

    @classmethod
    def of(cls, counts: Integers, shares: Sequence[int]) -> _Table:
        kinds, kind_of = np.unique(counts, axis=0, return_inverse=True)
        nothing = np.zeros((1, counts.shape[1]), dtype=np.int64)
        return cls(
            counts=counts,
            shares=np.asarray(shares, dtype=np.int64),
            kinds=np.vstack([kinds, nothing]),
            kind_of=kind_of.reshape(-1).astype(np.int64),
        )


def _deal(table: _Table) -> Integers:
    """Deal the groups in order, each to the part that is relatively shortest of what it brings."""
    scale = int(np.lcm.reduce(table.shares)) // table.shares  # a part's shortage, made comparable
    parts = np.zeros(len(table.counts), dtype=np.int64)
    held = np.zeros((len(table.shares), table.counts.shape[1]), dtype=np.int64)
    for row, group in enumerate(table.counts):
        parts[row] = np.argmin((held * scale[:, None]) @ group)
        held[parts[row]] += group
    return parts


def _improve(table: _Table, parts: Integers) -> Integers:
    """Exchange groups while that lowers the cost, the best exchange first."""
    parts = parts.copy()
    while (exchange := _best_exchange(table, parts)) is not None:
        giver, taker, given, returned = exchange
        moves = ((given, giver, taker), (returned, taker, giver))
        # Both are looked up before either moves, or one could come straight back.
        rows = [_first(table, parts, kind, part=part) for kind, part, _ in moves]
        for row, (_, _, part) in zip(rows, moves, strict=True):
            if row is not None:
                parts[row] = part
    return parts


def _best_exchange(table: _Table, parts: Integers) -> tuple[int, int, int, int] | None:
    """(giver, taker, kind given, kind returned) that lowers the cost most; None where none does.

    With d(p) = whole x has(p) - share(p) x total, the cost is the sum of |d(p)|^2. Giving a
    column vector v from p to q changes it by 2 whole (v . (d(q) - d(p)) + whole |v|^2).
    """
    whole = int(table.shares.sum())
    present = _present(table, parts)
    distance = _distance(table, present)
    gram = table.kinds @ table.kinds.T
    size = np.diag(gram)
    square = whole * (size[:, None] - 2 * gram + size[None, :])
    best, best_change = None, 0
    for giver in range(len(table.shares)):
        for taker in range(len(table.shares)):
            pull = table.kinds @ (distance[taker] - distance[giver])
            change = pull[:, None] - pull[None, :] + square
            possible = (present[giver] > 0)[:, None] & (present[taker] > 0)[None, :]
            change = np.where(possible, change, 0)
            flat = int(np.argmin(change))
            if change.flat[flat] < best_change:
                best_change = int(change.flat[flat])
                best = (giver, taker, flat // len(table.kinds), flat % len(table.kinds))
    return best


def _present(table: _Table, parts: Integers) -> Integers:
    """(P, K + 1): how many groups of each kind a part has; nothing is always at hand."""
    present = np.zeros((len(table.shares), len(table.kinds)), dtype=np.int64)
    np.add.at(present, (parts, table.kind_of), 1)
    present[:, -1] = 1
    return present


def _distance(table: _Table, present: Integers) -> Integers:
    """(P, F): how far each part is from its share of each column, times the sum of the shares."""
    held: Integers = present @ table.kinds
    due: Integers = table.shares[:, None] * table.counts.sum(axis=0)
    return int(table.shares.sum()) * held - due


def _cost(table: _Table, parts: Integers) -> int:
    """The sum of the squared distances over all parts and columns."""
    return int((_distance(table, _present(table, parts)) ** 2).sum())


def _first(table: _Table, parts: Integers, kind: int, *, part: int) -> int | None:
    """The first group of a kind that is in a part; None for the kind that is nothing."""
    rows = np.flatnonzero((table.kind_of == kind) & (parts == part))
    return int(rows[0]) if len(rows) else None
