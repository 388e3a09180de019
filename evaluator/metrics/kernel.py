"""The distances between the boundaries of two masks, point by point.

Boundaries are drawn by operations on words, 64 pixels at once, and their points listed. For each
point the nearest of the other boundary is found in two phases: the steps from every pixel straight
up or down (as in Meijster, Roerdink and Hesselink's exact distance transform, 2000), and along the
point's row the smallest sum of squares, block by block until the way aside alone is longer than the
best. Loops over pixels are written so that the compiler turns them into vector instructions.
Isotropic distances are exact, being square roots of whole numbers.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros
from numpy.typing import NDArray

from evaluator.metrics.compiled import compiled, inlined
from evaluator.metrics.packing import SURVEY, WORD, WORDS, Survey, Words, survey

__all__ = ["distances", "percentile", "survey"]

Box = tuple[int, int, int, int]
Points = tuple[NDArray[np.int64], NDArray[np.uint16]]
Steps = NDArray[np.uint16]

# Both are valid for images of up to 16,000 pixels a side.
NONE = np.uint16(23000)  # steps, where a column has no boundary: beyond the diagonal
FAR = np.int32(2**30)  # beyond its square
BLOCK = 16  # pixels of a row that are searched together

_STEP = numba.types.UniTuple(numba.float64, 2)
_FLOATS = numba.float64[::1]
_LENGTHS = numba.types.UniTuple(_FLOATS, 2)


@inlined
def _level(row: Words, k: int, rim: Any) -> Any:
    """The foreground of a row's word k between foreground.

    Args:
        rim: for the image's last pixel, whether the one beyond it is foreground.
    """
    one, far = np.uint64(1), np.uint64(WORD - 1)
    left = row[k] << one | row[k - 1] >> far
    right = row[k] >> one | row[k + 1] << far
    if k == row.size - 2:
        right |= rim
    return row[k] & left & right


@inlined
def _outline(words: Words, width: int, most: int, box: Box, eight: bool) -> Points:
    """The points of a mask's boundary, in raster order.

    Args:
        most: the mask's pixels.
        eight: as for `distances`.

    Returns:
        Where the points of each of the box's rows begin, with their number behind the last; and
        the points' columns, counted from the left of the box.
    """
    top, bottom, left, _ = box
    first = np.empty(bottom - top + 1, np.int64)
    columns = np.empty(most, np.uint16)
    rim = words[0, 0] & np.uint64(1) << np.uint64((width - 1) % WORD)
    solid = eight and most == (words.shape[0] - 2) * width
    count = 0
    for y in range(top, bottom):
        first[y - top] = count
        above, row, below = words[y], words[y + 1], words[y + 2]
        for k in range(1, row.size - 1):
            if row[k]:
                inside = _level(row, k, rim)
                if eight:
                    inside &= _level(above, k, rim) & _level(below, k, rim)
                else:
                    inside &= above[k] & below[k]
                edge = row[k] if solid else row[k] & ~inside
                while edge:
                    columns[count] = WORD * (k - 1) - left + trailing_zeros(edge)
                    count += 1
                    edge &= edge - np.uint64(1)
    first[bottom - top] = count
    return first, columns[:count]


@inlined
def _steps(edge: Points, width: int) -> Steps:
    """For every pixel of a box the rows between it and the nearest edge point of its column."""
    first, columns = edge
    height = first.size - 1
    steps = np.empty((height + 1, width), np.uint16)
    steps[height] = NONE
    for y in range(height - 1, -1, -1):
        row, below = steps[y], steps[y + 1]
        for x in range(width):  # one more than below, and zero on an edge point
            row[x] = below[x] + np.uint16(1)
        for i in range(first[y], first[y + 1]):
            row[columns[i]] = 0
    above = np.full(width, NONE)
    for y in range(height):
        row = steps[y]
        for x in range(width):
            above[x] = min(row[x], np.uint16(above[x] + np.uint16(1)))
            row[x] = above[x]
    return steps


@inlined
def _squared(up: Any, aside: int, ratio: Any, far: Any) -> Any:
    """The squared distance by way of a column `aside`, whose nearest edge point is `up` rows on."""
    number = type(far)
    across = np.int32(aside)
    return number((ratio * number(up * up) if up < NONE else far) + number(across * across))


@inlined
def _nearest(row: Steps, x: int, ratio: Any, far: Any) -> Any:
    """The squared distance from a row's pixel x to the nearest edge point of any row.

    Args:
        row: for each column the steps up or down to its nearest edge point.
        ratio, far: as for `_directed`.
    """
    best = far
    reach = 0
    while reach < row.size and reach * reach < best:
        left, right = max(x - reach - BLOCK, 0), min(x + reach, row.size - BLOCK)
        before, after = row[left : left + BLOCK], row[right : right + BLOCK]
        for i in range(BLOCK):
            one = _squared(np.int32(before[i]), left - x + i, ratio, far)
            other = _squared(np.int32(after[i]), right - x + i, ratio, far)
            best = min(best, one, other)
        reach += BLOCK
    return best


@inlined
def _directed(points: Points, edge: Points, width: int, ratio: Any, far: Any) -> Any:
    """The squared distance of each point to the nearest edge point.

    Args:
        width: of the box, in whole blocks.
        ratio: what a squared step up counts in squared steps aside; int32 or float64.
        far: more than any squared distance, of the same type.
    """
    first, columns = points
    steps = _steps(edge, width)
    found = np.empty(columns.size, type(far))
    for y in range(first.size - 1):
        row = steps[y]
        for i in range(first[y], first[y + 1]):
            found[i] = _nearest(row, int(columns[i]), ratio, far)
    return found


@inlined
def _lengths(squares: Any, unit: float) -> NDArray[np.float64]:
    """Square roots, in units."""
    lengths = np.empty(squares.size, np.float64)
    for i in range(squares.size):
        lengths[i] = unit * np.sqrt(np.float64(squares[i]))
    return lengths


@compiled(_LENGTHS(WORDS, SURVEY, numba.int64, _STEP, numba.boolean))
def distances(
    words: Words, found: Survey, width: int, step: tuple[float, float], eight: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each boundary point of one mask the distance to the other's boundary, both ways.

    Args:
        words, found: from `packing.survey`; neither mask is empty.
        width: of the masks, in pixels.
        step: the length of a step to the next (row, column).
        eight: boundaries as Awesome-BUS draws them: 8 neighbours, and all of the mask where that
            leaves no boundary. Otherwise 4.

    Returns:
        (prediction to reference, reference to prediction), in the unit of `step`.
    """
    predicted, lesion = found[:2]
    box = found[3:]
    ours = _outline(words[0], width, predicted, box, eight)
    theirs = _outline(words[1], width, lesion, box, eight)
    padded = (box[3] - box[2] + BLOCK - 1) // BLOCK * BLOCK
    row, column = step
    if row == column:
        return (
            _lengths(_directed(ours, theirs, padded, np.int32(1), FAR), column),
            _lengths(_directed(theirs, ours, padded, np.int32(1), FAR), column),
        )
    ratio = (row / column) ** 2
    return (
        _lengths(_directed(ours, theirs, padded, ratio, np.inf), column),
        _lengths(_directed(theirs, ours, padded, ratio, np.inf), column),
    )


@compiled(numba.float64(_FLOATS, numba.float64))
def percentile(values: NDArray[np.float64], percent: float) -> float:
    """The linearly interpolated percentile, equal to `numpy.percentile` to the bit.

    Selects (Hoare's Find, 1961) where numpy's general routine would spend more before it begins.

    Args:
        values: 1-D and not empty.
    """
    position = (values.size - 1) * (percent / 100)
    rank = int(position)
    ordered = values.copy()
    low, high = 0, values.size - 1
    while low < high:
        pivot = ordered[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while ordered[i] < pivot:
                i += 1
            while ordered[j] > pivot:
                j -= 1
            if i <= j:
                ordered[i], ordered[j] = ordered[j], ordered[i]
                i += 1
                j -= 1
        if j < rank:
            low = i
        if i > rank:
            high = j
    below: float = ordered[rank]
    if rank + 1 == values.size:
        return below
    above: float = ordered[rank + 1]
    for i in range(rank + 2, values.size):
        above = min(above, ordered[i])
    share, gap = position - rank, above - below
    return above - gap * (1 - share) if share >= 0.5 else below + gap * share
