"""Which submissions can't be told apart? Those whose rank intervals overlap share a group.

Groups are the largest sets of submissions of which any two overlap, numbered from the best. A
submission can be in several, which are then neighbours. Two submissions share a group exactly
where their intervals overlap: a compact letter display (Piepho, Journal of Computational and
Graphical Statistics 13, 2004), which for intervals one walk over the ranks finds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from harness.ranking.document import MAX_BINS

Whole = NDArray[np.int64]


def groups(low: Whole, high: Whole) -> tuple[Whole, Whole]:
    """The first and the last group of each submission, from 1.

    Args:
        low: the lower ends of the rank intervals, shape (submissions,).
        high: their upper ends.
    """
    starts, ends = set(low.tolist()), set(high.tolist())
    points: list[int] = []  # one rank that all members of a group share
    fresh = False  # whether an interval began since the last group ended
    for rank in sorted(starts | ends):
        fresh = fresh or rank in starts
        if fresh and rank in ends:
            points.append(rank)
            fresh = False
    return (
        np.searchsorted(points, low, side="left") + 1,
        np.searchsorted(points, high, side="right"),
    )


def rank_bins(submissions: int) -> Whole:
    """The first rank of each bin of a histogram of ranks: one bin a rank, or `MAX_BINS` in all."""
    count = min(submissions, MAX_BINS)
    return 1 + np.arange(count) * submissions // count


def rank_counts(ranks: Whole) -> Whole:
    """How often each submission's rank fell into each bin: (resamples, n) -> (n, bins)."""
    bins = rank_bins(ranks.shape[1])
    places = np.searchsorted(bins, ranks, side="right") - 1
    places += len(bins) * np.arange(ranks.shape[1])
    counts = np.bincount(places.ravel(), minlength=len(bins) * ranks.shape[1])
    return counts.reshape(ranks.shape[1], len(bins))
