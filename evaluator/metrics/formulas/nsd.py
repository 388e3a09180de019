"""Normalised surface Dice (Nikolov et al., JMIR 23(7), 2021), over boundary points as in MONAI.

The tolerance is ours to state: two pixels, about what one annotator differs from himself, or half
a millimetre where the spacing is known.
"""

import numpy as np

from evaluator.metrics.case import Case

TOLERANCE_PX = 2.0
TOLERANCE_MM = 0.5
ROUNDING = 1 + 1e-9  # five steps of 0.1 mm are within half a millimetre, however they are rounded


def native(case: Case) -> float:
    """The share of all boundary points within the tolerance of the other boundary."""
    ours, theirs = case.distances
    tolerance = (TOLERANCE_PX if case.spacing is None else TOLERANCE_MM) * ROUNDING
    near = np.count_nonzero(ours <= tolerance) + np.count_nonzero(theirs <= tolerance)
    return float(near / (ours.size + theirs.size))
