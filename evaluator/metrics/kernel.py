"""The distances between the boundaries of two masks, point by point.

Boundaries are drawn by operations on words, 64 pixels at once, and their points listed. For each
point the nearest of the other boundary is found in two phases: the steps from every pixel straight
up or down (as in Meijster, Roerdink and Hesselink's exact distance transform, 2000), and along the
point's row the smallest sum of squares, block by block until the way aside alone is longer than the
best. A row in which that would take long is done at once, by its lower envelope: whatever the
masks are, the time is linear in the pixels, so nobody can choose masks that outlast the scorer.
Loops over pixels are written so that the compiler turns them into vector instructions.
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

__all__ = ["distances", "survey"]

Box = tuple[int, int, int, int]
Points = tuple[NDArray[np.int64], NDArray[np.uint16]]
Steps = NDArray[np.uint16]
Corners = NDArray[np.float64]

# Both are valid for images of up to 16,000 pixels a side.
NONE = np.uint16(23000)  # steps, where a column has no boundary: beyond the diagonal
FAR = np.int32(2**30)  # beyond its square
BLOCK = 16  # pixels of a row that are searched together
PATIENCE = 4  # how often a row may be read for its few points
SPREAD = 8  # pixels aside

_STEP = numba.types.UniTuple(numba.float64, 2)
_FLOATS = numba.float64[::1]
_RESULT = numba.types.Tuple((_FLOATS, _FLOATS, numba.int64))


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
    rows, across = np.int32(up), np.int32(aside)
    return number((ratio * number(rows * rows) if up < NONE else far) + number(across * across))


@inlined
def _look_around(row: Steps, x: int, ratio: Any, far: Any, read: int) -> tuple[Any, int]:
    """The squared distance from a row's pixel x to the nearest edge point of any row.

    Args:
        read: how many of the row's pixels were read before.

    Returns:
        The distance, and how many pixels were read by then: more than `PATIENCE` rows where it was
        given up, and the distance may be too large.
    """
    best = far
    reach = 0
    while reach < row.size and reach * reach < best and read <= PATIENCE * row.size:
        left, right = max(x - reach - BLOCK, 0), min(x + reach, row.size - BLOCK)
        before, after = row[left : left + BLOCK], row[right : right + BLOCK]
        for i in range(BLOCK):
            one = _squared(before[i], left - x + i, ratio, far)
            other = _squared(after[i], right - x + i, ratio, far)
            best = min(best, one, other)
        reach += BLOCK
        read += 2 * BLOCK
    return best, read


@inlined
def _spread(row: Steps, ratio: Any, far: Any, buffers: Any) -> tuple[Any, int]:
    """The squared distances of a row's pixels by way of columns up to `SPREAD` aside.

    The k-th time, each passes its own on to its neighbours with 2k - 1 more: 1 + 3 + ... = k^2.
    Once that changes nothing, nor would it later, and all distances are final.

    Args:
        buffers: two rows and a pixel at either end, for the distances.

    Returns:
        The distances, in `buffers`; and how often they were passed on, 0 where that was not enough.
    """
    now, later = buffers[0], buffers[1]
    now[0] = now[-1] = later[0] = later[-1] = far
    own = now[1:-1]
    for x in range(row.size):
        own[x] = _squared(row[x], 0, ratio, far)
    for k in range(1, SPREAD + 1):
        left, own, right, new = now[:-2], now[1:-1], now[2:], later[1:-1]
        more, changed = type(far)(2 * k - 1), 0
        for x in range(row.size):
            new[x] = min(own[x], left[x] + more, right[x] + more)
            changed += new[x] != own[x]
        now, later = later, now
        if changed == 0:
            return new, k
    return new, 0


@inlined
def _envelope(row: Steps, ratio: Any, far: Any, corners: Corners) -> tuple[int, int]:
    """The columns that are the nearest of some place in the row (Felzenszwalb, Huttenlocher 2012).

    From x, column c is at (x - c)^2 + up^2 = x^2 - 2cx + (c^2 + up^2): columns that are the nearest
    somewhere are corners of the lower convex hull of the points (c, c^2 + up^2).

    Args:
        corners: where they are put: column, square of the rows up, sum of both squares.

    Returns:
        How many there are, and in how many steps they were found.
    """
    columns, ups, heights = corners[0], corners[1], corners[2]
    size, steps = 0, row.size
    for x in range(row.size):
        up = _squared(row[x], 0, ratio, far)
        if row[x] < NONE:
            column = np.float64(x)
            height = column * column + up
            while size > 1 and (heights[size - 1] - heights[size - 2]) * (
                column - columns[size - 1]
            ) >= (height - heights[size - 1]) * (columns[size - 1] - columns[size - 2]):
                size -= 1
                steps += 1
            columns[size], ups[size], heights[size] = column, up, height
            size += 1
    return size, steps


@inlined
def _at_once(
    row: Steps, points: NDArray[np.uint16], ratio: Any, buffers: Any, corners: Corners, found: Any
) -> int:
    """The squared distances of many of a row's points, into `found`; and the pixels read for it.

    Distances spread to all pixels at once. Those within `SPREAD` are final; a few further points
    look around, and for many the row's lower envelope is drawn.
    """
    far = buffers[0, 0]
    spread, times = _spread(row, ratio, far, buffers)
    final = far if times else type(far)((SPREAD + 1) ** 2)
    read = 0
    for i in range(points.size):
        found[i] = spread[points[i]]
        if found[i] > final:
            found[i], read = _look_around(row, int(points[i]), ratio, far, read)
    work = (times or SPREAD) * row.size + read + points.size
    if read <= PATIENCE * row.size:
        return work
    size, steps = _envelope(row, ratio, far, corners)
    columns, ups = corners[0], corners[1]
    k = 0
    for i in range(points.size):
        x = np.float64(points[i])
        best = (x - columns[k]) ** 2 + ups[k]
        while k + 1 < size and (x - columns[k + 1]) ** 2 + ups[k + 1] <= best:
            k += 1
            best = (x - columns[k]) ** 2 + ups[k]
        found[i] = best
    return work + steps + size + points.size


@inlined
def _directed(points: Points, edge: Points, width: int, ratio: Any, far: Any) -> tuple[Any, int]:
    """The squared distance of each point to the nearest edge point, and the pixels read for it.

    Few points of a row look around; where that would read the row more than `PATIENCE` times, all
    of its points are found at once, in time linear in the row.

    Args:
        width: of the box, in whole blocks.
        ratio: what a squared step up counts in squared steps aside; int32 or float64.
        far: more than any squared distance, of the same type.
    """
    first, columns = points
    steps = _steps(edge, width)
    found = np.empty(columns.size, type(far))
    buffers, corners = np.full((2, width + 2), far), np.empty((3, width))
    work = 0
    for y in range(first.size - 1):
        row, start, end = steps[y], first[y], first[y + 1]
        few, read = BLOCK * (end - start) <= PATIENCE * width, 0
        if few:
            for i in range(start, end):
                found[i], read = _look_around(row, int(columns[i]), ratio, far, read)
        work += read
        if not few or read > PATIENCE * width:
            here, there = columns[start:end], found[start:end]
            work += _at_once(row, here, ratio, buffers, corners, there)
    return found, work


@inlined
def _lengths(squares: Any, unit: float) -> NDArray[np.float64]:
    """Square roots, in units."""
    lengths = np.empty(squares.size, np.float64)
    for i in range(squares.size):
        lengths[i] = unit * np.sqrt(np.float64(squares[i]))
    return lengths


@inlined
def _both(
    ours: Points, theirs: Points, width: int, ratio: Any, far: Any, unit: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Both directions' distances, in units, and the work that they took."""
    there, one = _directed(ours, theirs, width, ratio, far)
    back, other = _directed(theirs, ours, width, ratio, far)
    return _lengths(there, unit), _lengths(back, unit), one + other


@compiled(_RESULT(WORDS, SURVEY, numba.int64, _STEP, numba.boolean))
def distances(
    words: Words, found: Survey, width: int, step: tuple[float, float], eight: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """For each boundary point of one mask the distance to the other's boundary, both ways.

    Args:
        words, found: from `packing.survey`; neither mask is empty.
        width: of the masks, in pixels.
        step: the length of a step to the next (row, column).
        eight: boundaries as Awesome-BUS draws them: 8 neighbours, and all of the mask where that
            leaves no boundary. Otherwise 4.

    Returns:
        (prediction to reference, reference to prediction), in the unit of `step`; and how many
        pixels of a row were read or compared for both.
    """
    predicted, lesion = found[:2]
    box = found[3:]
    ours = _outline(words[0], width, predicted, box, eight)
    theirs = _outline(words[1], width, lesion, box, eight)
    padded = (box[3] - box[2] + BLOCK - 1) // BLOCK * BLOCK
    row, column = step
    if row == column:
        return _both(ours, theirs, padded, np.int32(1), FAR, column)
    return _both(ours, theirs, padded, (row / column) ** 2, np.inf, column)
