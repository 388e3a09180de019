"""95 % intervals of means over patients, since images of one patient agree."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy  # whose parts are imported when they are first used
from numpy.typing import NDArray

MIN_PATIENTS = 5  # below it an interval would only pretend
LEVEL = 0.95
ANY = (-math.inf, math.inf)


def interval(
    values: NDArray[np.float64], patients: Sequence[str], bounds: tuple[float, float] = ANY
) -> tuple[float, float] | None:
    """95 % interval of the mean over cases.

    Args:
        values: one number a case, shape (cases,).
        patients: the patient of each case.
        bounds: the smallest and the largest mean that there can be.

    Returns:
        (low, high), or None with fewer than `MIN_PATIENTS` patients.
    """
    return ratio_interval(values, np.ones(len(values)), patients, bounds=bounds)


def ratio_interval(
    values: NDArray[np.float64],
    sizes: NDArray[np.float64],
    patients: Sequence[str],
    *,
    bounds: tuple[float, float] = ANY,
) -> tuple[float, float] | None:
    """95 % interval of the sum of values over the sum of sizes, as `interval` gives it of a mean.

    Args:
        values, sizes: of each case, shape (cases,).
    """
    names, index = np.unique(np.asarray(patients), return_inverse=True)
    if len(names) < MIN_PATIENTS:
        return None
    sums, totals = (np.bincount(index, weights=each).astype(np.float64) for each in (values, sizes))
    low, high = mean_intervals(sums[:, None], totals, bounds)[:, 0]
    return float(low), float(high)


def mean_intervals(
    sums: NDArray[np.float64], sizes: NDArray[np.float64], bounds: tuple[float, float] = ANY
) -> NDArray[np.float64]:
    """95 % t intervals of means over cases, linearised over patients.

    Such a mean is a ratio: the sum of all values to the number of cases, both of which depend on
    who the patients are. Its standard error is that of the patients' residuals (Cochran, Sampling
    Techniques, 3rd edition, 1977, section 6.4).

    Args:
        sums: of each patient's cases, shape (patients, n); two patients or more.
        sizes: the number of each patient's cases, shape (patients,).
        bounds: the smallest and the largest mean that there can be.

    Returns:
        The lower and the upper ends, shape (2, n).
    """
    count, cases = len(sizes), sizes.sum()
    means = sums.sum(axis=0) / cases
    residuals = sums - sizes[:, None] * means
    error = np.sqrt(count / (count - 1) * (residuals**2).sum(axis=0)) / cases
    half = scipy.special.stdtrit(count - 1, (1 + LEVEL) / 2) * error
    ends: NDArray[np.float64] = np.clip([means - half, means + half], *bounds)
    return ends
