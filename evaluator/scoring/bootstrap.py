"""Bootstrap interval of a mean, over patients, since images of one patient agree."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
SEED = 42
MIN_PATIENTS = 5  # below it an interval would only pretend


def interval(values: NDArray[np.float64], patients: Sequence[str]) -> tuple[float, float] | None:
    """95 % interval of the mean over cases, patients drawn with replacement.

    Percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, ch. 13).

    Args:
        values: one number a case, shape (cases,).
        patients: the patient of each case.

    Returns:
        (low, high), or None with fewer than `MIN_PATIENTS` patients.
    """
    names, index = np.unique(np.asarray(patients), return_inverse=True)
    if len(names) < MIN_PATIENTS:
        return None
    sums = np.bincount(index, weights=values, minlength=len(names))
    sizes = np.bincount(index, minlength=len(names))
    draws = np.random.default_rng(SEED).integers(len(names), size=(RESAMPLES, len(names)))
    means = sums[draws].sum(axis=1) / sizes[draws].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
