"""False-positive area: how much was called lesion and is not, read on normal images above all."""

from evaluator.metrics.case import Case


def native(case: Case) -> float:
    """FP times the area of a pixel: square millimetres, or pixels where the spacing is unknown."""
    row, column = case.spacing or (1.0, 1.0)
    return case.false_positives * row * column
