"""Ranking schemes: the order in which each puts the submissions.

An order is an array of ranks from 1, one a submission; ties share the smallest rank. All values
here are whole numbers in float64, see `exact`, so that sums come out the same whatever order they
are added in, and equal submissions tie on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy  # whose parts are imported when they are first used
from numpy.typing import NDArray

from harness.ranking.metrics import METRICS

Floats = NDArray[np.float64]
Ranks = NDArray[np.int64]
UNIT = 2.0**-30  # values closer than this tie; 4,000 cases of 1,000 pixels still sum exactly


def exact(values: Floats) -> Floats:
    """Values as whole multiples of `UNIT`."""
    return np.rint(values / UNIT)


def smallest_ranks(values: Floats | Ranks) -> Ranks:
    """Ranks from 1 for the smallest value, along the last axis; ties share the smallest rank."""
    return scipy.stats.rankdata(values, method="min", axis=-1).astype(np.int64)


def case_ranks(exact_values: Mapping[str, Floats]) -> dict[str, Floats]:
    """The rank of each submission on each case: metric -> (cases, submissions).

    Args:
        exact_values: metric -> (cases, submissions).
    """
    return {
        key: smallest_ranks(-gains(key, values)).astype(np.float64)
        for key, values in exact_values.items()
    }


def mean_rank_order(rank_sums: Floats) -> Ranks:
    """The primary order: by the mean of the ranks case by case, over cases and metrics.

    "Rank, then aggregate" of Maier-Hein et al., Nature Communications 9:5217, 2018.

    Args:
        rank_sums: sums over cases and ranked metrics, shape (..., submissions).
    """
    return smallest_ranks(rank_sums)


def aggregate_order(means: Mapping[str, Floats]) -> Ranks:
    """Aggregate, then rank: by the mean, over the metrics, of the ranks of the mean values.

    "Aggregate, then rank" of Maier-Hein et al. (2018), on each metric, and then over them.

    Args:
        means: ranked metric -> means, or sums, over one set of cases, shape (..., submissions).
    """
    return smallest_ranks(aggregate_rank_sums(means))


def aggregate_rank_sums(means: Mapping[str, Floats]) -> Ranks:
    """The sums, over the metrics, of the ranks by mean values; being whole, their ties are exact.

    Args:
        means: as `aggregate_order` takes them.
    """
    ranks = [smallest_ranks(-gains(key, values)) for key, values in means.items()]
    return np.asarray(np.sum(ranks, axis=0), np.int64)


def gains(metric: str, values: Floats) -> Floats:
    """The values such that more is better."""
    return values * _SIGNS[metric]


_SIGNS = {metric.key: 1.0 if metric.higher_is_better else -1.0 for metric in METRICS}
