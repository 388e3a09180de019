"""The distances between the boundaries of two masks, point by point.

For each point the nearest of the other boundary is found in two phases: the steps from every pixel
straight up or down (as in Meijster, Roerdink and Hesselink's exact distance transform, 2000), and
along the point's row the smallest sum of squares. Few points of a row look around, until the way
aside alone is longer than the best. Many are found at once, a block of pixels at a time: its
distances spread a few columns aside; where that is not enough, the nearest columns of the pixels
before and behind bound those of the block (a row is halved until all its blocks are bounded).
Whatever the masks are, a row is read a bounded number of times, one more for each doubling of its
width, so nobody can choose masks that outlast the scorer. Isotropic distances are exact, being
square roots of whole numbers.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros
from numpy.typing import NDArray

from evaluator.compiled import compiled, inlined
from evaluator.metrics import vector
from evaluator.metrics.areas import connected, matches
from evaluator.metrics.boundaries import Columns, Points, outline
from evaluator.metrics.packing import SURVEY, WORDS, Survey, Words, survey
from evaluator.metrics.selection import selected

__all__ = ["connected", "distances", "matches", "selected", "survey"]

Steps = NDArray[np.uint16]
Floats = NDArray[np.float64]
Squares = NDArray[np.floating]  # float32 where that is exact, which is twice as fast
Buffers = tuple[Squares, Squares, NDArray[np.int64], NDArray[np.bool_]]

NONE = np.uint16(vector.NONE)
BLOCK = vector.SIZE  # pixels of a row that are searched together
PATIENCE = 2  # how often a row may be read for its few points
SPREAD = 16  # pixels aside
EXACT = 2**24  # float32 has every whole number up to it
LIKELY = 4**2  # the square of a distance

_STEP = numba.types.UniTuple(numba.float64, 2)
_FLOATS = numba.float64[::1]
_STEPS = numba.uint16[:, ::1]
_COUNTS = numba.types.UniTuple(numba.int64, 3)


@inlined
def _count_steps(edge: Points, steps: Steps) -> None:
    """For every pixel of a box the rows between it and the nearest edge point of its column.

    Args:
        steps: where they are put; it has a row more, for what is beyond the box.
    """
    first, columns = edge
    height, width = first.size - 1, steps.shape[1]
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


@inlined
def _look_around(row: Steps, x: int, ratio: float, read: int) -> tuple[float, int]:
    """The squared distance from a row's pixel x to the nearest edge point of any row.

    Args:
        read: how many of the row's pixels were read before.

    Returns:
        The distance, and how many pixels were read by then: more than `PATIENCE` rows where it was
        given up, and the distance may be too large.
    """
    best = np.inf
    reach = 0
    while reach < row.size and reach * reach < best and read <= PATIENCE * row.size:
        left, right = max(x - reach - BLOCK, 0), min(x + reach, row.size - BLOCK)
        before = vector.around(row, left, left - x, ratio)
        after = vector.around(row, right, right - x, ratio)
        best = min(best, vector.least(vector.lesser(before, after)))
        reach += BLOCK
        read += 2 * BLOCK
    return best, read


@inlined
def _nearest(own: Squares, x: int, first: int, last: int) -> int:
    """The column, from first to last or a few more, by way of which pixel x is the nearest."""
    best, notes = vector.far(own), vector.far(own)
    for k in range(first, last + 1, BLOCK):
        start = min(k, own.size - BLOCK)
        ways = vector.beside(own, start, start - x)
        notes = vector.noted(ways, best, start, notes)
        best = vector.lesser(ways, best)
    element = trailing_zeros(vector.equal(best, vector.least(best)))
    return int(vector.pick(notes, np.uint32(element))) + int(element)


@inlined
def _bounds(own: Squares, nearest: NDArray[np.int64]) -> int:
    """The nearest columns of every block's first pixel, and the pixels read for it.

    The nearest column never moves left where a pixel moves right. So those of two pixels bound
    those of all between: blocks are halved until each is bounded. The column straight up bounds
    them too.

    Args:
        own: the squared steps up of the row's columns.
        nearest: where they are put, with that of the row's last pixel behind them.
    """
    blocks, end = own.size // BLOCK, own.size - 1
    nearest[0] = _nearest(own, 0, 0, end)
    nearest[blocks] = _nearest(own, end, nearest[0], end)
    width, read = 1, 2 * own.size
    while width < blocks:
        width *= 2
    while width > 1:
        half = width // 2
        for b in range(half, blocks, width):
            x = b * BLOCK
            aside = int(min(np.sqrt(own[x]), np.float64(own.size))) + 1
            first = max(nearest[b - half], x - aside)
            last = min(nearest[min(b + half, blocks)], x + aside)
            nearest[b] = _nearest(own, x, first, last)
            read += last - first + BLOCK
        width = half
    return read


@inlined
def _close(ups: Squares, x: int, squares: Squares) -> int:
    """The squared distances of a block by way of columns up to `SPREAD` aside.

    Args:
        ups: the squared steps up of the row's columns, between `SPREAD` infinite ones.
        squares: where they are put, at the row's pixel x.

    Returns:
        How many columns aside all distances were final; more than `SPREAD` where they are not.
    """
    best = vector.load(ups, SPREAD + x, 0)
    aside = 1
    while aside <= SPREAD and vector.above(best, aside * aside):
        left = vector.load(ups, SPREAD + x - aside, aside * aside)
        right = vector.load(ups, SPREAD + x + aside, aside * aside)
        best = vector.lesser(best, vector.lesser(left, right))
        aside += 1
    vector.store(best, squares, x)
    return aside


@inlined
def _at_once(row: Steps, points: Columns, ratio: float, buffers: Buffers, found: Floats) -> int:
    """The squared distances of many of a row's points, into `found`; and the pixels read for it."""
    ups, squares, nearest, needed = buffers
    own = ups[SPREAD:-SPREAD]
    for x in range(row.size):
        up = np.float64(row[x])
        own[x] = own.dtype.type(ratio * (up * up) if row[x] < NONE else np.inf)
    needed[:] = False
    for i in range(points.size):
        needed[points[i] // BLOCK] = True
    work, bounded = row.size, False
    for b in range(needed.size):
        if needed[b]:
            x, aside = b * BLOCK, SPREAD + 1
            # Once bounds are known, only a block whose first pixel is close is likely to be.
            if not bounded or own[nearest[b]] + np.float64(nearest[b] - x) ** 2 <= LIKELY:
                aside = _close(ups, x, squares)
                work += (2 * aside + 1) * BLOCK
            if aside > SPREAD:
                if not bounded:
                    work += _bounds(own, nearest)
                    bounded = True
                best = vector.far(own)
                for column in range(nearest[b], nearest[b + 1] + 1):
                    best = vector.meet(best, own[column], x - column)
                vector.store(best, squares, x)
                work += nearest[b + 1] + 1 - nearest[b]
    for i in range(points.size):
        found[i] = squares[points[i]]
    return work


@inlined
def _rows(points: Points, steps: Steps, ratio: float, far: Any, found: Floats) -> int:
    """The squared distances of all points, into `found`; and the pixels read for it.

    Few points of a row look around; where that would read the row more than `PATIENCE` times, all
    of its points are found at once.

    Args:
        far: infinity, of the precision in which squares are compared.
    """
    first, columns = points
    width = steps.shape[1]  # of the box, in whole blocks
    ups = np.full(width + 2 * SPREAD, far)
    blocks = width // BLOCK
    buffers = ups, ups.copy(), np.empty(blocks + 1, np.int64), np.empty(blocks, np.bool_)
    work = 0
    for y in range(first.size - 1):
        row, start, end = steps[y], first[y], first[y + 1]
        few, read = BLOCK * (end - start) <= PATIENCE * width, 0
        if few:
            for i in range(start, end):
                found[i], read = _look_around(row, int(columns[i]), ratio, read)
        work += read
        if not few or read > PATIENCE * width:
            work += _at_once(row, columns[start:end], ratio, buffers, found[start:end])
    return work


@inlined
def _directed(
    points: Points, edge: Points, step: tuple[float, float], steps: Steps, found: Floats
) -> int:
    """The distance of each point to the nearest edge point, and the pixels read for it.

    Args:
        step: as for `distances`.
        steps: used for the steps up and down.
        found: where the distances are put.
    """
    _count_steps(edge, steps)
    height, width = steps.shape
    ratio = (step[0] / step[1]) ** 2
    if ratio == 1 and width * width + height * height <= EXACT:
        work = _rows(points, steps, ratio, np.float32(np.inf), found)
    else:
        work = _rows(points, steps, ratio, np.inf, found)
    for i in range(points[1].size):
        found[i] = step[1] * np.sqrt(found[i])
    return work


@compiled(_COUNTS(WORDS, SURVEY, numba.int64, _STEP, numba.boolean, _STEPS, _FLOATS, _FLOATS))
def both_ways(
    words: Words,
    found: Survey,
    width: int,
    step: tuple[float, float],
    eight: bool,
    steps: Steps,
    there: Floats,
    back: Floats,
) -> tuple[int, int, int]:
    """The distances of `distances`, into `there` and `back`; how many each are, and the work."""
    predicted, lesion = found[:2]
    box = found[3:]
    ours = outline(words[0], width, predicted, box, eight)
    theirs = outline(words[1], width, lesion, box, eight)
    work = _directed(ours, theirs, step, steps, there)
    work += _directed(theirs, ours, step, steps, back)
    return ours[1].size, theirs[1].size, work


def distances(
    words: Words, found: Survey, width: int, step: tuple[float, float], eight: bool
) -> tuple[Floats, Floats, int]:
    """For each boundary point of one mask the distance to the other's boundary, both ways.

    Large arrays are made here, not in the compiled loops: numpy asks for large pages of memory,
    without which getting them takes half as long as all the rest.

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
    predicted, lesion, _, top, bottom, left, right = found
    steps = np.empty((bottom - top + 1, (right - left + BLOCK - 1) // BLOCK * BLOCK), np.uint16)
    there, back = np.empty(predicted), np.empty(lesion)  # no boundary has more points
    ours, theirs, work = both_ways(words, found, width, step, eight, steps, there, back)
    return there[:ours], back[:theirs], work
