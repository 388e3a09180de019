"""The compiled loops: what two masks hold, and how far their boundaries are apart.

Two passes. `survey` reads both masks once: counts, and the box around what they hold. `distances`
works inside that box alone: the boundaries; for every pixel the squared distance straight up or
down to the other boundary (the first phase of Meijster, Roerdink and Hesselink's exact distance
transform, 2000); and then, for the boundary points only, the search along their row for the
smallest sum of squares, which ends as soon as the step alone is longer than the best. All loops
over pixels are written so that the compiler turns them into vector instructions: bytes and 16-bit
steps, no branch inside. Isotropic distances are exact, being square roots of whole numbers.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from evaluator.metrics.compiled import compiled, inlined

Bytes = NDArray[np.uint8]
Survey = tuple[int, int, int, int, int, int, int]
Steps = NDArray[np.uint16]

# Both hold for images of up to 16,000 pixels a side.
NONE = np.uint16(23000)  # steps, where a column has no boundary: beyond the diagonal
FAR = np.int32(2**30)  # beyond its square, and still 32 bits with a row's square added
BLOCK = 64  # 8-byte words looked at together while skipping the empty top and bottom

_MASK = numba.types.Array(numba.uint8, 2, "C", readonly=True)
_SURVEY = numba.types.UniTuple(numba.int64, 7)
_STEP = numba.types.UniTuple(numba.float64, 2)
_FLOATS = numba.float64[::1]
_LENGTHS = numba.types.UniTuple(_FLOATS, 2)


@inlined
def _rows_in_use(prediction: Bytes, reference: Bytes) -> tuple[int, int]:
    """(first, last + 1) row that may hold a lesion; generous by less than two blocks."""
    height, width = prediction.shape
    size = height * width
    ones, others = prediction.reshape(size), reference.reshape(size)
    blocks = size // (8 * BLOCK)
    a = ones[: 8 * BLOCK * blocks].view(np.uint64)
    b = others[: 8 * BLOCK * blocks].view(np.uint64)
    first, last = 0, blocks
    while first < blocks:
        held = np.uint64(0)
        for i in range(BLOCK * first, BLOCK * (first + 1)):
            held |= a[i] | b[i]
        if held:
            break
        first += 1
    for i in range(8 * BLOCK * blocks, size):
        if ones[i] | others[i]:
            return 8 * BLOCK * first // width, height
    while last > first:
        held = np.uint64(0)
        for i in range(BLOCK * (last - 1), BLOCK * last):
            held |= a[i] | b[i]
        if held:
            break
        last -= 1
    return 8 * BLOCK * first // width, (8 * BLOCK * last + width - 1) // width


@compiled(_SURVEY(_MASK, _MASK))
def survey(prediction: Bytes, reference: Bytes) -> Survey:
    """Count both masks and their overlap, and box what they hold.

    Args:
        prediction, reference: 2-D, C-contiguous, read-only, zero for background.

    Returns:
        (prediction's pixels, reference's, those of both, top, bottom, left, right); the box is
        half-open and holds every foreground pixel.
    """
    top, bottom = _rows_in_use(prediction, reference)
    width = prediction.shape[1]
    predicted, lesion, both = 0, 0, 0
    # Counts by column fit a byte for 255 rows: the loop over pixels then adds bytes to bytes.
    used = np.zeros(width, np.uint8)
    for start in range(top, bottom, 255):
        columns = np.zeros((3, width), np.uint8)
        for y in range(start, min(start + 255, bottom)):
            for x in range(width):
                ours = np.uint8(prediction[y, x] != 0)
                theirs = np.uint8(reference[y, x] != 0)
                columns[0, x] += ours
                columns[1, x] += theirs
                columns[2, x] += ours & theirs
        for x in range(width):
            predicted += columns[0, x]
            lesion += columns[1, x]
            both += columns[2, x]
            used[x] |= columns[0, x] | columns[1, x]
    left, right = 0, width
    while left < right and not used[left]:
        left += 1
    while right > left and not used[right - 1]:
        right -= 1
    return predicted, lesion, both, top, bottom, left, right


@inlined
def _crop(mask: Bytes, box: tuple[int, int, int, int], outside: int) -> Bytes:
    """The box as zeros and ones, with a border of one pixel that is `outside` beyond the image."""
    top, bottom, left, right = box
    height, width = bottom - top, right - left
    crop = np.zeros((height + 2, width + 2), np.uint8)
    for y in range(height):
        source = mask[top + y, left:right]
        target = crop[y + 1, 1:]
        for x in range(width):
            target[x] = np.uint8(source[x] != 0)
    for x in range(width + 2):
        crop[0, x] = outside if top == 0 else 0
        crop[height + 1, x] = outside if bottom == mask.shape[0] else 0
    for y in range(1, height + 1):
        crop[y, 0] = outside if left == 0 else 0
        crop[y, width + 1] = outside if right == mask.shape[1] else 0
    return crop


@inlined
def _boundary(crop: Bytes, square: bool) -> Bytes:
    """The crop's foreground with a background pixel among its 4 (or, if `square`, 8) neighbours.

    All of the foreground where `square` leaves none. Rows are filled up with zeros to whole 8-byte
    words.
    """
    height, width = crop.shape[0] - 2, crop.shape[1] - 2
    edge = np.zeros((height, (width + 7) // 8 * 8), np.uint8)
    column = np.empty(width + 2, np.uint8)
    some = np.uint8(0)
    for y in range(height):
        if square:
            for x in range(width + 2):
                column[x] = crop[y, x] & crop[y + 1, x] & crop[y + 2, x]
            for x in range(width):
                inside = column[x] & column[x + 1] & column[x + 2]
                edge[y, x] = crop[y + 1, x + 1] & (inside ^ 1)
                some |= edge[y, x]
        else:
            for x in range(width):
                inside = crop[y, x + 1] & crop[y + 2, x + 1] & crop[y + 1, x] & crop[y + 1, x + 2]
                edge[y, x] = crop[y + 1, x + 1] & (inside ^ 1)
    if square and not some:
        for y in range(height):
            for x in range(width):
                edge[y, x] = crop[y + 1, x + 1]
    return edge


@inlined
def _steps_in_column(edge: Bytes) -> Steps:
    """For every pixel the rows between it and the nearest edge point of its column."""
    height, width = edge.shape
    steps = np.empty((height, width), np.uint16)
    for x in range(width):
        steps[0, x] = NONE & (np.uint16(edge[0, x]) - np.uint16(1))
    for y in range(1, height):
        for x in range(width):  # one more than above, and zero on an edge point
            more = np.uint16(steps[y - 1, x] + np.uint16(1))
            steps[y, x] = more & (np.uint16(edge[y, x]) - np.uint16(1))
    for y in range(height - 2, -1, -1):
        for x in range(width):
            steps[y, x] = min(steps[y, x], np.uint16(steps[y + 1, x] + np.uint16(1)))
    return steps


@inlined
def _nearest(line: Any, at: int, width: int, far: Any) -> Any:
    """The squared distance from position `at` of a row to the nearest edge point of any row.

    Args:
        line: for each column the square of the way up or down to its nearest edge point, with
            `far` around it.
    """
    number = type(far)
    best = line[at]
    step = 1
    while step < width and step * step < best:
        count = step + 7  # growing blocks: few steps are wasted on near points, few turns on far
        left = line[at - step - count + 1 : at - step + 1]
        right = line[at + step : at + step + count]
        for i in range(count):
            across = np.int32(step + i)
            aside = min(left[count - 1 - i], right[i])
            best = min(best, number(aside + number(across * across)))
        step += count
    return best


@inlined
def _directed(points: Bytes, edge: Bytes, most: int, ratio: Any, far: Any) -> Any:
    """The squared distance of each point to the nearest edge point, at most `most` of them.

    Args:
        ratio: what a squared step up counts in squared steps aside; int32 or float64.
        far: more than any squared distance, of the same type.
    """
    height, width = points.shape
    steps = _steps_in_column(edge)
    number = type(far)
    start = 2 * width + 8  # room for a block that begins at the last column
    line = np.full(width + 2 * start, far)
    words = points.view(np.uint64)
    found = np.empty(most, number)
    count = 0
    for y in range(height):
        for x in range(width):
            up = np.int32(steps[y, x])
            line[start + x] = number(ratio * number(up * up)) if up < NONE else far
        for word in range(words.shape[1]):
            if words[y, word]:
                for x in range(8 * word, 8 * word + 8):
                    if points[y, x]:
                        found[count] = _nearest(line, start + x, width, far)
                        count += 1
    return found[:count]


@inlined
def _lengths(squares: Any, unit: float) -> NDArray[np.float64]:
    """Square roots, in units."""
    lengths = np.empty(squares.size, np.float64)
    for i in range(squares.size):
        lengths[i] = unit * np.sqrt(np.float64(squares[i]))
    return lengths


@compiled(_LENGTHS(_MASK, _MASK, _SURVEY, _STEP, numba.boolean))
def distances(
    prediction: Bytes, reference: Bytes, found: Survey, step: tuple[float, float], seed: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each boundary point of one mask the distance to the other's boundary, both ways.

    Args:
        prediction, reference: as for `survey`, neither of them empty.
        found: what `survey` says of them.
        step: the length of a step to the next (row, column).
        seed: boundaries as the seed draws them: 8 neighbours, outside the image is foreground,
            and all of the mask where that leaves no boundary. Otherwise 4, and background.

    Returns:
        (prediction to reference, reference to prediction), in the unit of `step`.
    """
    predicted, lesion = found[:2]
    box = found[3:]
    row, column = step
    outside = 1 if seed else 0
    ours = _boundary(_crop(prediction, box, outside), seed)
    theirs = _boundary(_crop(reference, box, outside), seed)
    if row == column:
        return (
            _lengths(_directed(ours, theirs, predicted, np.int32(1), FAR), column),
            _lengths(_directed(theirs, ours, lesion, np.int32(1), FAR), column),
        )
    ratio = (row / column) ** 2
    return (
        _lengths(_directed(ours, theirs, predicted, ratio, np.inf), column),
        _lengths(_directed(theirs, ours, lesion, ratio, np.inf), column),
    )


@compiled(numba.float64(_FLOATS, numba.float64))
def percentile(values: NDArray[np.float64], percent: float) -> float:
    """The linearly interpolated percentile, equal to `numpy.percentile` to the bit.

    Selects (Hoare's Find, 1961) where numpy's general routine would spend more on its way in.

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
