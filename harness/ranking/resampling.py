"""What might the sums have been with other patients? A bootstrap over patients, paired.

All submissions get the same resamples, and each resample only weighs a patient by how often it was
drawn: so the sums of all resamples are one product of matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluator.scoring.bootstrap import RESAMPLES, SEED

Floats = NDArray[np.float64]


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
        """How often each resample drew each patient, shape (resamples, patients).

        The draws are those of `evaluator.scoring.bootstrap.interval`.
        """
        count = len(self.sizes)
        draws = np.random.default_rng(seed).integers(count, size=(resamples, count))
        draws += count * np.arange(resamples)[:, None]
        weights = np.bincount(draws.ravel(), minlength=resamples * count)
        return weights.reshape(resamples, count).astype(np.float64)


def intervals(values: Floats) -> Floats:
    """95 % percentile intervals over the resamples: (resamples, n) -> (2, n), low and high."""
    return np.percentile(values, TAILS, axis=0)


def rank_intervals(ranks: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same of ranks, whose ends are ranks that occurred."""
    return np.percentile(ranks, TAILS, axis=0, method="inverted_cdf").astype(np.int64)


TAILS = (2.5, 97.5)
