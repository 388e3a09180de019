"""HD100: the Hausdorff distance between boundaries (Huttenlocher et al., IEEE TPAMI 15(9), 1993).

ITK's HausdorffDistanceImageFilter gives the same for boundaries; on filled masks it does not see
holes.
"""

from evaluator.metrics.case import Case


def native(case: Case) -> float:
    """The largest distance from a boundary point to the other boundary."""
    ours, theirs = case.distances
    return float(max(ours.max(), theirs.max()))
