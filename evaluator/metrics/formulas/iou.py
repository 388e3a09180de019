"""Intersection over union (Jaccard, Bulletin de la Société Vaudoise 37, 1901)."""

import numpy as np

from evaluator.metrics.case import Case

SMOOTHING = np.float32(1e-7)  # as in the seed's Dice


def native(case: Case) -> float:
    """|P∩G| / |P∪G|."""
    union = case.true_positives + case.false_positives + case.false_negatives
    return case.true_positives / union


def seed(case: Case) -> float:
    """(|P∩G| + 1e-7) / (|P∪G| + 1e-7), in single precision."""
    union = case.true_positives + case.false_positives + case.false_negatives
    return float((np.float32(case.true_positives) + SMOOTHING) / (np.float32(union) + SMOOTHING))
