"""The metrics' formulas on an examined case, each with its source.

A formula of the profile `awesome-bus-2025` carries that name: it reproduces the published table of
the Awesome-BUS benchmark.
"""

from __future__ import annotations

import numpy as np

from evaluator.metrics.case import Case, percentile

# Awesome-BUS's smoothing term, which also gives its empty masks their values, and its precision:
# the declared values of its profile are those of single precision in the eighth digit.
SMOOTHING = np.float32(1e-7)
TOLERANCE_PX = 2.0
TOLERANCE_MM = 0.5
ROUNDING = 1 + 1e-9  # five steps of 0.1 mm are within half a millimetre, however they are rounded


def dice(case: Case) -> float:
    """2|P∩G| / (|P| + |G|) (Dice, Ecology 26, 1945)."""
    overlap = 2 * case.true_positives
    return overlap / (overlap + case.false_positives + case.false_negatives)


def dice_awesome_bus_2025(case: Case) -> float:
    """(2|P∩G| + 1e-7) / (|P| + |G| + 1e-7), in single precision."""
    overlap = 2 * case.true_positives
    areas = overlap + case.false_positives + case.false_negatives
    return float((np.float32(overlap) + SMOOTHING) / (np.float32(areas) + SMOOTHING))


def iou(case: Case) -> float:
    """|P∩G| / |P∪G| (Jaccard, Bulletin de la Société Vaudoise 37, 1901)."""
    union = case.true_positives + case.false_positives + case.false_negatives
    return case.true_positives / union


def iou_awesome_bus_2025(case: Case) -> float:
    """(|P∩G| + 1e-7) / (|P∪G| + 1e-7), in single precision."""
    union = case.true_positives + case.false_positives + case.false_negatives
    return float((np.float32(case.true_positives) + SMOOTHING) / (np.float32(union) + SMOOTHING))


def hd95(case: Case) -> float:
    """The larger of the two directed 95th percentiles of boundary distances, as in MONAI.

    Percentiles are numpy's linear ones. The Hausdorff distance itself: see `hd100`.
    """
    ours, theirs = case.distances
    return max(percentile(ours, 95), percentile(theirs, 95))


def hd95_awesome_bus_2025(case: Case) -> float:
    """The 95th percentile of both directions' distances together, as in MedPy."""
    return percentile(np.concatenate(case.distances), 95)


def hd100(case: Case) -> float:
    """The Hausdorff distance between boundaries (Huttenlocher et al., IEEE TPAMI 15(9), 1993).

    ITK's HausdorffDistanceImageFilter gives the same for boundaries; on filled masks it does not
    see gaps in the mask.
    """
    ours, theirs = case.distances
    return float(max(ours.max(), theirs.max()))


def assd(case: Case) -> float:
    """The mean over all boundary points of the distance to the other boundary.

    Average symmetric surface distance (Heimann et al., IEEE TMI 28(8), 2009). Both directions'
    points count alike, as in MONAI; MedPy's mean of two means differs where one boundary is longer.
    """
    ours, theirs = case.distances
    return float((ours.sum() + theirs.sum()) / (ours.size + theirs.size))


def nsd(case: Case) -> float:
    """The share of all boundary points within the tolerance of the other boundary.

    Normalised surface Dice (Nikolov et al., JMIR 23(7), 2021), over boundary points as in MONAI.
    The tolerance is ours: two pixels, about what one annotator differs from himself, or half a
    millimetre where the spacing is known.
    """
    ours, theirs = case.distances
    tolerance = (TOLERANCE_PX if case.spacing is None else TOLERANCE_MM) * ROUNDING
    near = np.count_nonzero(ours <= tolerance) + np.count_nonzero(theirs <= tolerance)
    return float(near / (ours.size + theirs.size))


def precision(case: Case) -> float:
    """TP / (TP + FP), or positive predictive value: how much of the prediction is lesion."""
    return case.true_positives / case.predicted


def recall(case: Case) -> float:
    """TP / (TP + FN), or sensitivity: how much of the lesion was found."""
    return case.true_positives / case.lesion


def specificity(case: Case) -> float:
    """TN / (TN + FP), or true negative rate: how much of the background was left alone."""
    return case.true_negatives / (case.true_negatives + case.false_positives)


def false_positive_area(case: Case) -> float:
    """FP times the area of a pixel: square millimetres, or pixels where the spacing is unknown."""
    row, column = case.spacing or (1.0, 1.0)
    return case.false_positives * row * column
