"""Significance tests: one-sided paired Wilcoxon signed-rank tests, adjusted by Holm's method.

The pairs are patients, not images, which are no independent evidence: the difference of a pair is
that of the patient's mean. Zero differences are left out, and the p-value is of the normal
approximation with the variance corrected for ties (SciPy's `wilcoxon`, `method="asymptotic"`).

All pairs would be a million tests with a thousand submissions. So each submission is tested
against at most `MAX_OPPONENTS`, spread evenly over the primary order; with no more submissions
than that, it is tested against all others.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # whose parts are imported when they are first used
from numpy.typing import NDArray

from evaluator.scoring.intervals import mean_intervals
from harness.ranking.document import MAX_OPPONENTS
from harness.ranking.orders import Floats, Ranks, smallest_ranks

LEVEL = 0.05
DIGITS = 6  # of a p-value: what decides is what is written down


@dataclass(frozen=True)
class Tests:
    """All tests on one metric: one family, adjusted together."""

    adjusted: Floats  # (submissions, opponents): p-values of being better; 1 against oneself
    wins: NDArray[np.int64]  # (submissions,): opponents that each is significantly better than
    tests: NDArray[np.int64]  # (submissions,): opponents that each was tested against


def opponents(order: NDArray[np.intp], most: int = MAX_OPPONENTS) -> NDArray[np.intp]:
    """Whom all are tested against: at most `most` of `order`, evenly spread, its ends among them.

    Args:
        order: the submissions' places, the best first.
    """
    if len(order) <= most:
        return order
    return order[np.arange(most) * (len(order) - 1) // (most - 1)]


def better(means: Floats, against: NDArray[np.intp]) -> Tests:
    """Test whether each submission is better than each of its opponents.

    Args:
        means: of each patient, more is better, shape (patients, submissions).
        against: the opponents' places among the submissions.
    """
    count = means.shape[1]
    p = np.ones((count, len(against)))
    itself = np.zeros(p.shape, bool)
    itself[against, np.arange(len(against))] = True
    for column, opponent in enumerate(against):
        others = np.flatnonzero(~itself[:, column])
        p[others, column] = p_values(means[:, others] - means[:, [opponent]])
    adjusted = np.ones(p.shape)
    adjusted[~itself] = np.round(holm(p[~itself]), DIGITS)
    wins = (adjusted < LEVEL).sum(axis=1)
    return Tests(adjusted, wins, (~itself).sum(axis=1))


def half_widths(sums: Floats, sizes: Floats) -> list[Floats]:
    """Half of the 95 % interval of the difference of each pair's means, over patients.

    As `harness.ranking.comparison` computes it of one pair.

    Args:
        sums: of each patient's cases, shape (patients, submissions).
        sizes: the number of each patient's cases, shape (patients,).

    Returns:
        Of each submission one number for each before it.
    """
    differences = (sums[:, : n + 1] - sums[:, [n]] for n in range(sums.shape[1]))
    ends = (mean_intervals(each, sizes)[:, :-1] for each in differences)
    return [(high - low) / 2 for low, high in ends]


def p_values(differences: Floats) -> Floats:
    """One-sided p-values that differences, (patients, n), lie above zero; 1 where all are zero."""
    p = np.ones(differences.shape[1])
    tested = differences.any(axis=0)
    if tested.any():
        # the stubs know the method but not together with an axis
        found = scipy.stats.wilcoxon(
            differences[:, tested], axis=0, alternative="greater", method="asymptotic"
        )  # type: ignore[call-overload]
        p[tested] = found.pvalue
    return p


def holm(p: Floats) -> Floats:
    """p-values adjusted by Holm's step-down method (Scandinavian Journal of Statistics 6, 1979).

    Args:
        p: of one family of tests, shape (tests,).
    """
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    factors = np.arange(len(p), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * p[order]))
    return adjusted


def patients_needed(tests: Tests) -> int:
    """How many patients it takes at least for one pair to be significant after Holm's adjustment.

    The smallest p-value of `patients` differences is that of all being above zero: with the normal
    approximation, of z = √(3 n (n + 1) / (4 n + 2)).
    """
    smallest = LEVEL / max(1, int(tests.tests.sum()))
    wanted = scipy.stats.norm.isf(smallest) ** 2
    return next(n for n in itertools.count(1) if 3 * n * (n + 1) / (4 * n + 2) > wanted)


def test_based_order(tests: Sequence[Tests]) -> Ranks:
    """By the mean, over the metrics, of the ranks by the share of tests won.

    The order of significance of Wiesenfarth et al., Scientific Reports 11:2369, 2021.
    """
    ranks = [smallest_ranks(-one.wins / np.maximum(one.tests, 1)) for one in tests]
    return smallest_ranks(np.asarray(np.sum(ranks, axis=0), np.int64))
