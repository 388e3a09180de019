"""Confidence sets of ranks: which ranks of a submission the test set's patients do not exclude.

Each pair of submissions is tested on its patients' rank sums. Were both equally good, a patient's
difference would be as likely as its negative, so the signs of whole patients are flipped: all of
them, for all pairs at once. The largest statistic over the pairs of a family, in each flip, bounds
what chance gives; what lies above it is significant, and is left out when the bound is taken
again, until nothing more is found (step-down max-T: Romano and Wolf, Journal of the American
Statistical Association 100:94, 2005). A submission's set runs from 1 + those significantly better
than it to the last rank less those significantly worse (Mogstad, Romano, Shaikh and Wilhelm, Review
of Economic Studies 91:476, 2024).

A submission's own set comes from the family of its pairs alone: it covers the true rank in 95 % of
test sets. The joint sets come from the family of all pairs, and cover all ranks at once in 95 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.ranking.orders import Floats, Ranks
from harness.ranking.resampling import SEED

LEVEL = 0.05
FLIPS = 2000
ALL_FLIPS = 11  # patients up to which all 2ⁿ combinations of signs are tried

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class RankSets:
    """The first and the last rank of each submission's set, shape (submissions,) each."""

    own: tuple[Ranks, Ranks]
    joint: tuple[Ranks, Ranks]


def rank_sets(sums: Floats, level: float = LEVEL) -> RankSets:
    """The confidence sets of all submissions.

    Args:
        sums: the ranks of each submission, summed over each patient's cases and metrics, in whole
            numbers, shape (patients, submissions); less is better.
        level: how often a set may miss.
    """
    statistics = _Statistics.of(sums)
    totals = sums.sum(axis=0)
    first = statistics.largest(statistics.scales > 0)
    own, joint = (
        _step_down(statistics, first, joint=joint, level=level) for joint in (False, True)
    )
    return RankSets(_ranks(own, totals), _ranks(joint, totals))


def aggregate_rank_sets(losses: Sequence[Floats]) -> RankSets:
    """The confidence sets of ranks by means over the cases.

    By one metric, of its sums as `rank_sets` takes those of ranks. By several, the joint sets of
    each metric, which miss less often by as many times (Bonferroni), hold the rank on each at once:
    a submission is surely before another where the sum of its largest ranks is below the sum of the
    other's smallest. These sets are wider than they need be, and own and joint ones are the same.

    Args:
        losses: of each metric, sums over each patient's cases in whole numbers, shape (patients,
            submissions); less is better.
    """
    if len(losses) == 1:
        return rank_sets(_centred(losses[0]))
    each = [rank_sets(_centred(sums), LEVEL / len(losses)).joint for sums in losses]
    low, high = (np.sum([ends[end] for ends in each], axis=0) for end in (0, 1))
    before = (high < low[:, None]).sum(axis=1)
    after = (low > high[:, None]).sum(axis=1)
    found = 1 + before, len(low) - after
    return RankSets(found, found)


def _centred(sums: Floats) -> Floats:
    """Sums with the same differences, near zero: so that squares of large ones lose no digit."""
    centred: Floats = sums - np.rint(sums.mean(axis=1, keepdims=True))
    return centred


def signs(patients: int) -> Floats:
    """The signs of each flip, shape (flips, patients); the first leaves all as they are."""
    if patients <= ALL_FLIPS:
        bits = np.arange(2**patients)[:, None] >> np.arange(patients) & 1
    else:
        bits = np.random.default_rng(SEED).integers(2, size=(FLIPS, patients))
        bits[0] = 0
    return np.where(bits, -1.0, 1.0)


@dataclass(frozen=True)
class _Statistics:
    """T of pairs of submissions, in each flip: |sum of differences| / √(sum of their squares)."""

    flipped: Floats  # sums over the patients, (submissions, flips): the first flip is none
    scales: Floats  # what the differences are multiplied with, (submissions, submissions)

    @classmethod
    def of(cls, sums: Floats) -> _Statistics:
        products = sums.T @ sums  # of whole numbers: exact
        squares = products.diagonal()[:, None] + products.diagonal() - 2 * products
        np.maximum(squares, 0, out=squares)
        scales = np.zeros_like(squares)
        np.divide(1, np.sqrt(squares, out=squares), out=scales, where=squares > 0)
        return cls(np.ascontiguousarray((signs(len(sums)) @ sums).T), scales)

    def of_row(self, row: int, columns: NDArray[np.intp]) -> Floats:
        """T of one submission and others, (columns, flips)."""
        found: Floats = self.flipped[columns] - self.flipped[row]
        np.abs(found, out=found)
        found *= self.scales[row, columns, None]
        return found

    def largest(self, active: Flags) -> Floats:
        """The largest T of each submission over its active pairs, (submissions, flips)."""
        largest = np.zeros_like(self.flipped)
        for row in np.flatnonzero(active.any(axis=1)).tolist():
            largest[row] = self.of_row(row, np.flatnonzero(active[row])).max(axis=0)
        return largest

    def unflipped(self) -> Floats:
        """T of all pairs as they are, (submissions, submissions)."""
        found: Floats = np.abs(self.flipped[:, 0] - self.flipped[:, :1]) * self.scales
        return found


def _step_down(statistics: _Statistics, largest: Floats, *, joint: bool, level: float) -> Flags:
    """Which pairs differ significantly, (submissions, submissions).

    Args:
        largest: over all pairs, as `_Statistics.largest` gives it.
        joint: whether all pairs are one family, else each submission's are.
        level: how often a family may have one that does not.
    """
    found, observed = np.zeros(statistics.scales.shape, bool), statistics.unflipped()
    while True:
        family = largest.max(axis=0, keepdims=True) if joint else largest
        allowed = int(level * family.shape[1])  # flips that may reach a significant statistic
        bound = -np.partition(-family, allowed, axis=1)[:, allowed, None]
        fresh = (observed > bound) & ~found
        if not fresh.any():
            return found
        found |= fresh
        changed = fresh.any(axis=1, keepdims=True)
        again = statistics.largest((statistics.scales > 0) & ~found & changed)
        largest = np.where(changed, again, largest)


def _ranks(significant: Flags, totals: Floats) -> tuple[Ranks, Ranks]:
    better = (significant & (totals < totals[:, None])).sum(axis=1)
    worse = (significant & (totals > totals[:, None])).sum(axis=1)
    return 1 + better, len(totals) - worse
