"""Agreement of the orders by several schemes, and of a scheme's with those of its resamples."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import scipy  # whose parts are imported when they are first used

from harness.ranking.document import SCHEMES, Agreement, Interval, Scheme, Stability
from harness.ranking.orders import Floats, Ranks
from harness.ranking.resampling import middle

DIGITS = 6  # after the point, of every number of a ranking that is written down


def agreement(orders: Mapping[Scheme, Ranks]) -> tuple[Agreement, ...]:
    """How alike each two schemes order the same submissions."""
    return tuple(
        Agreement(schemes=(one, other), tau=tau(orders[one], orders[other]))
        for one, other in combinations(SCHEMES, 2)
    )


def stability(
    orders: Mapping[Scheme, Ranks], resampled: Mapping[Scheme, Ranks]
) -> tuple[Stability, ...]:
    """How alike a scheme orders all patients and resamples of them, (resamples, submissions)."""
    return tuple(_stability(scheme, orders[scheme], found) for scheme, found in resampled.items())


def _stability(scheme: Scheme, whole: Ranks, resampled: Ranks) -> Stability:
    orders, place = np.unique(resampled, axis=0, return_inverse=True)
    found = [tau(whole, order) for order in orders]
    taus = [value for value in (found[n] for n in place.ravel()) if value is not None]
    if not taus:
        return Stability(scheme=scheme, tau=None, interval=None)
    ends = rounded_ends(middle(np.array(taus)))
    return Stability(scheme=scheme, tau=rounded(np.mean(taus)), interval=ends)


def tau(one: Ranks, other: Ranks) -> float | None:
    """Kendall's tau-b between two orders; None where one of them ties all submissions."""
    if len(set(one.tolist())) < 2 or len(set(other.tolist())) < 2:
        return None
    return rounded(scipy.stats.kendalltau(one, other).statistic)


def rounded(value: float | np.floating) -> float:
    """A number as a ranking writes it."""
    return round(float(value), DIGITS)


def rounded_ends(ends: Floats) -> Interval:
    """The two ends of an interval, as a ranking writes them."""
    return Interval(low=rounded(ends[0]), high=rounded(ends[1]))
