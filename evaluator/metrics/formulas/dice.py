"""Dice: twice the overlap over the two areas (Dice, Ecology 26, 1945)."""

import numpy as np

from evaluator.metrics.case import Case

# The seed's smoothing term, which also gives its empty masks their values, and its precision: the
# declared values of the seed profile are those of single precision in the eighth digit.
SMOOTHING = np.float32(1e-7)


def native(case: Case) -> float:
    """2|P∩G| / (|P| + |G|)."""
    overlap = 2 * case.true_positives
    return overlap / (overlap + case.false_positives + case.false_negatives)


def seed(case: Case) -> float:
    """(2|P∩G| + 1e-7) / (|P| + |G| + 1e-7), in single precision."""
    overlap = 2 * case.true_positives
    areas = overlap + case.false_positives + case.false_negatives
    return float((np.float32(overlap) + SMOOTHING) / (np.float32(areas) + SMOOTHING))
