"""Holds the sharing out of groups to brute force and to its own promises."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.splits.balance import share_out

TABLES = st.lists(
    st.lists(st.integers(0, 4), min_size=3, max_size=3).map(lambda row: [1, sum(row) + 1, *row]),
    min_size=1,
    max_size=30,
).map(lambda rows: np.array(rows, dtype=np.int64))
SHARES = st.sampled_from([(1, 4), (1, 1, 1), (1,) * 5, (3, 7), (1, 2, 3)])


def cost(counts: np.ndarray, parts: Sequence[int], shares: Sequence[int]) -> int:
    """The definition, in the words of the module's docstring and nothing else."""
    total = 0
    for part, share in enumerate(shares):
        held = counts[np.array(parts) == part].sum(axis=0)
        total += int(((sum(shares) * held - share * counts.sum(axis=0)) ** 2).sum())
    return total


def orders(groups: int, starts: int = 4) -> list[list[int]]:
    return [list(np.random.RandomState(n).permutation(groups)) for n in range(starts)]


@settings(max_examples=60, deadline=None)
@given(counts=TABLES, shares=SHARES)
def test_no_move_and_no_swap_is_left_that_would_help(
    counts: np.ndarray, shares: tuple[int, ...]
) -> None:
    parts = share_out(counts, shares, orders(len(counts)))
    reached = cost(counts, parts, shares)
    for row in range(len(counts)):
        for part in range(len(shares)):
            moved = [*parts[:row], part, *parts[row + 1 :]]
            assert cost(counts, moved, shares) >= reached
        for other in range(row):
            swapped = list(parts)
            swapped[row], swapped[other] = swapped[other], swapped[row]
            assert cost(counts, swapped, shares) >= reached


@pytest.mark.parametrize("seed", range(12))
def test_the_best_of_all_partitions_is_found_where_all_can_be_tried(seed: int) -> None:
    random = np.random.RandomState(seed)
    rows = random.randint(0, 9, size=(9, 3))
    counts = np.column_stack([np.ones(9, dtype=np.int64), rows.sum(axis=1), rows])
    shares = (1, 4)
    best = min(cost(counts, parts, shares) for parts in product((0, 1), repeat=9))
    assert cost(counts, share_out(counts, shares, orders(9, 32)), shares) == best


@settings(max_examples=60, deadline=None)
@given(
    kinds=st.lists(st.integers(0, 2), min_size=5, max_size=60), shares=SHARES, start=st.integers(0)
)
def test_single_cases_of_each_class_are_shared_out_to_the_rounding(
    kinds: list[int], shares: tuple[int, ...], start: int
) -> None:
    counts = np.column_stack([np.ones(len(kinds)), np.eye(3)[kinds]]).astype(np.int64)
    parts = np.array(share_out(counts, shares, orders(len(kinds))))
    for part, share in enumerate(shares):
        due = counts.sum(axis=0) * share / sum(shares)
        assert (np.abs(counts[parts == part].sum(axis=0) - due) <= 1).all()
