"""Precision, or positive predictive value: how much of the prediction is lesion."""

from evaluator.metrics.case import Case


def native(case: Case) -> float:
    """TP / (TP + FP)."""
    return case.true_positives / case.predicted
