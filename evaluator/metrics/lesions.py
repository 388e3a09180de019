"""Detection: how many lesions of an image were found, and how many areas are none.

The predicted areas are the connected areas (8 neighbours) of the predicted mask. An area and a
lesion match where the intersection is more than half of the union. Each then has at most one
match, so nothing has to be assigned (Kirillov et al., Panoptic Segmentation, CVPR 2019).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluator.metrics.case import Situation, examine, loops


@dataclass(frozen=True)
class LesionCounts:
    """What was found in one image."""

    lesions: int  # of the reference
    found: int  # of them, with a match
    false: int  # predicted areas without a match


UNCOUNTED = LesionCounts(0, 0, 0)  # of a transformed image


def count_lesions(predicted: NDArray[np.bool_], lesions: NDArray[np.uint8]) -> LesionCounts:
    """Compare a predicted mask with the lesions of an image.

    Args:
        predicted: (H, W).
        lesions: the reference, (H, W): 0 where none is, else a lesion's number from 1.
    """
    case = examine(predicted, lesions > 0)
    if case.situation is Situation.BOTH_EMPTY:
        return LesionCounts(0, 0, 0)
    *_, top, bottom, left, right = case.survey
    areas = np.empty((bottom - top, right - left), np.int32)
    count = loops().connected(case.words[0], (top, bottom, left, right), areas)
    numbers = lesions[top:bottom, left:right].ravel()
    total, found = loops().matches(areas.ravel(), numbers, count)
    return LesionCounts(total, found, count - found)


def missed(lesions: NDArray[np.uint8]) -> LesionCounts:
    """The worst that is counted, for an output that is missing: nothing found, one area false."""
    return LesionCounts(len(np.setdiff1d(lesions, [0])), 0, 1)
