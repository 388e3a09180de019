"""Recall, or sensitivity: how much of the lesion was found."""

from evaluator.metrics.case import Case


def native(case: Case) -> float:
    """TP / (TP + FN)."""
    return case.true_positives / case.lesion
