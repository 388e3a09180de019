"""HD95: the Hausdorff distance with the farthest 5 % of boundary points left out.

The Hausdorff distance itself is Huttenlocher et al., IEEE TPAMI 15(9), 1993. `native` is MONAI's
form: the larger of the two directed 95th percentiles. `seed` is MedPy's: one percentile over both
directions' distances together. Percentiles are numpy's linear ones.
"""

import numpy as np

from evaluator.metrics.case import Case, percentile


def native(case: Case) -> float:
    """The larger of the two directed 95th percentiles."""
    ours, theirs = case.distances
    return max(percentile(ours, 95), percentile(theirs, 95))


def seed(case: Case) -> float:
    """The 95th percentile of both directions together."""
    return percentile(np.concatenate(case.distances), 95)
