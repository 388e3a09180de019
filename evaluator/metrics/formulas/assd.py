"""Average symmetric surface distance (Heimann et al., IEEE TMI 28(8), 2009).

Both directions' points count alike, as in MONAI; MedPy's mean of two means differs where one
boundary is longer.
"""

from evaluator.metrics.case import Case


def native(case: Case) -> float:
    """The mean over all boundary points of the distance to the other boundary."""
    ours, theirs = case.distances
    return float((ours.sum() + theirs.sum()) / (ours.size + theirs.size))
