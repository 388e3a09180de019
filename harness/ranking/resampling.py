"""Bootstrap over patients, paired: how stable an order is; and groups of submissions.

All submissions get the same resamples, and each resample only weighs a patient by how often it was
drawn: so the sums of all resamples are one product of matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.ranking.document import MAX_BINS

Floats = NDArray[np.float64]
Whole = NDArray[np.int64]
RESAMPLES = 2000
SEED = 42
TAILS = (2.5, 97.5)


@dataclass(frozen=True)
class Patients:
    """Which patient each case belongs to; patients are numbered in order of their names."""

    of_case: NDArray[np.intp]  # (cases,)
    sizes: Floats  # cases of each patient, (patients,)

    @classmethod
    def of(cls, names: Sequence[str]) -> Patients:
        """From the patient's name of each case."""
        found, index = np.unique(np.asarray(names), return_inverse=True)
        return cls(index, np.bincount(index, minlength=len(found)).astype(np.float64))

    def sums(self, values: Floats) -> Floats:
        """Sums over each patient's cases: (cases, submissions) -> (patients, submissions)."""
        totals = np.zeros((len(self.sizes), values.shape[1]))
        np.add.at(totals, self.of_case, values)
        return totals

    def weights(self, resamples: int = RESAMPLES, seed: int = SEED) -> Floats:
        """How often each resample drew each patient, shape (resamples, patients)."""
        count = len(self.sizes)
        draws = np.random.default_rng(seed).integers(count, size=(resamples, count))
        draws += count * np.arange(resamples)[:, None]
        weights = np.bincount(draws.ravel(), minlength=resamples * count)
        return weights.reshape(resamples, count).astype(np.float64)


def middle(values: Floats) -> Floats:
    """The middle 95 % of values over the resamples: (resamples,) -> (2,), low and high."""
    return np.percentile(values, TAILS)


def groups(low: Whole, high: Whole) -> tuple[Whole, Whole]:
    """The first and the last group of each submission, from 1.

    Groups are the largest sets of submissions of which any two have overlapping sets of ranks,
    numbered from the best. A submission can be in several, which are then neighbours: a compact
    letter display (Piepho, Journal of Computational and Graphical Statistics 13, 2004), which for
    runs of ranks one walk over the ranks finds.

    Args:
        low: the first ranks of the joint confidence sets, shape (submissions,).
        high: their last ranks.
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
