"""Detection: how many lesions of an image were found, and how many areas are none.

The predicted areas are the connected areas (8 neighbours) of the predicted mask. An area and a
lesion match where the intersection is more than half of the union. Each then has at most one
match, so nothing has to be assigned (Kirillov et al., Panoptic Segmentation, CVPR 2019).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label

IOU = 0.5  # a match has more


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
    marked = predicted | (lesions > 0)
    rows, columns = (_span(np.asarray(marked.any(axis=axis))) for axis in (1, 0))
    lesions = lesions[rows, columns]  # all else is background
    areas, count = label(predicted[rows, columns], np.ones((3, 3)))
    total = int(lesions.max(initial=0))
    pairs = np.bincount(
        areas.ravel() * (total + 1) + lesions.ravel(), minlength=(count + 1) * (total + 1)
    ).reshape(count + 1, total + 1)
    inner, of_areas, of_lesions = pairs[1:, 1:], pairs[1:].sum(axis=1), pairs[:, 1:].sum(axis=0)
    union = of_areas[:, None] + of_lesions - inner
    found = int((inner > IOU * union).sum())
    return LesionCounts(int(np.count_nonzero(of_lesions)), found, count - found)


def _span(marked: NDArray[np.bool_]) -> slice:
    places = np.flatnonzero(marked)
    return slice(places[0], places[-1] + 1) if len(places) else slice(0)


def missed(lesions: NDArray[np.uint8]) -> LesionCounts:
    """The worst that is counted, for an output that is missing: nothing found, one area false."""
    return LesionCounts(len(np.setdiff1d(lesions, [0])), 0, 1)
