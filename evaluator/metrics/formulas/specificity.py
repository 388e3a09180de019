"""Specificity, or true negative rate: how much of the background was left alone."""

from evaluator.metrics.case import Case


def native(case: Case) -> float:
    """TN / (TN + FP)."""
    return case.true_negatives / (case.true_negatives + case.false_positives)
