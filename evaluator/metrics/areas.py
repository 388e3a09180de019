"""The lesions of an image that a predicted area matches, in time and memory linear in the pixels.

Numbers of areas and lesions are a participant's and a label's: a table of all pairs would be as
large as both together let it be.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from evaluator.compiled import compiled

LESIONS = 256  # numbers that a label's pixel can have

_PAIR = numba.types.UniTuple(numba.int64, 2)
_LESIONS = numba.types.Array(numba.uint8, 1, "C", readonly=True)  # as decoders give them


@compiled(_PAIR(numba.int32[::1], _LESIONS, numba.int64))
def matches(areas: NDArray[np.int32], lesions: NDArray[np.uint8], count: int) -> tuple[int, int]:
    """How many lesions there are, and how many have an area with an IoU of more than a half.

    Such an area has more than half of the lesion's pixels. So it is found as a majority is (Boyer
    and Moore, 1981): each pixel votes for its area or against another's, and what is left over is
    the only candidate.

    Args:
        areas: the predicted area of each pixel, from 1; 0 where none is.
        lesions: the lesion of each pixel, likewise.
        count: of areas.
    """
    sizes = np.zeros(count + 1, np.int64)
    pixels, inner, votes, candidates = np.zeros((4, LESIONS), np.int64)
    for i in range(areas.size):
        area, lesion = areas[i], lesions[i]
        sizes[area] += 1
        if lesion:
            pixels[lesion] += 1
            candidate = area if votes[lesion] == 0 else candidates[lesion]
            candidates[lesion] = candidate
            votes[lesion] += 1 if candidate == area else -1
    for i in range(areas.size):
        lesion = lesions[i]
        if lesion:
            inner[lesion] += candidates[lesion] == areas[i]
    total, found = 0, 0
    for lesion in range(1, LESIONS):
        if pixels[lesion]:
            total += 1
            area = candidates[lesion]
            union = pixels[lesion] + sizes[area] - inner[lesion]
            found += area > 0 and 2 * inner[lesion] > union
    return total, found
