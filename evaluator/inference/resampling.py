"""Bilinear resampling, compiled: an image into a network's input, a map into a packed mask.

Both give, bit for bit, what Pillow 13 gives (`resize`, BILINEAR, modes `L` and `F`), and do so
whatever Pillow is installed: triangles with half-pixel centres, one new pixel wide to each side
where it shrinks, one axis after the other and rounded in between. Weights and sums are taken in
Pillow's order, which decides on the last bit. Python's lock is released meanwhile.

An image may also be resampled without that averaging: triangles are then one old pixel wide, as in
OpenCV's INTER_LINEAR and torch's `interpolate(antialias=False)`.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba.extending import overload
from numpy.typing import NDArray

from evaluator.compiled import compiled, inlined

_BITS = 22  # of a fixed-point weight: Pillow's for 8-bit pixels
_SLACK = 1e-6  # an average of probabilities may be rounded to so much more than all of them
_PIXELS = numba.types.Array(numba.uint8, 1, "C", readonly=True)
_TABLE = numba.types.Array(numba.float32, 2, "C", readonly=True)
_MAPS = numba.types.Array(numba.float32, 3, "C", readonly=True)
_ROWS = numba.int64[:, ::1]  # of whole numbers, one an image


@inlined
def _touched(pixel: int, scale: float, reach: float, old: int) -> tuple[int, int]:
    """The pixels, from and to, of an axis of `old` that a new one is made of."""
    centre = (pixel + 0.5) * scale
    return max(int(centre - reach + 0.5), 0), min(int(centre + reach + 0.5), old)


@inlined
def _weigh(
    old: int, new: int, antialiased: bool, some: tuple[int, int]
) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
    """How some pixels of an axis of `new` are made of one of `old` pixels.

    Args:
        antialiased: whether all old pixels below a new one are averaged where it shrinks.
        some: new pixels, from and to.

    Returns:
        For each new pixel its first old one, and the weights (taps, new) of it and of those behind
        it. Taps are even in number; the weights of those that are too many are 0.
    """
    scale = old / new
    reach = max(scale, 1.0) if antialiased else 1.0
    slope = 1.0 / reach
    number = some[1] - some[0]
    first = np.empty(number, np.uint32)
    weights = np.zeros((2 * math.ceil(reach) + 2, number))
    most = 0
    for at in range(number):
        low, end = _touched(some[0] + at, scale, reach, old)
        centre = (some[0] + at + 0.5) * scale
        total = 0.0
        for tap in range(end - low):
            weight = max(1.0 - abs((tap + low - centre + 0.5) * slope), 0.0)
            weights[tap, at] = weight
            total += weight
        for tap in range(end - low):
            weights[tap, at] /= total
        first[at] = low
        most = max(most, end - low)
    return first, weights[: most + most % 2]


@inlined
def _weigh_fixed(
    old: int, new: int, antialiased: bool
) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
    """As `_weigh`, of all pixels, in whole numbers: 1 is 2 ** _BITS."""
    first, weights = _weigh(old, new, antialiased, (0, new))
    fixed = np.empty(weights.shape, np.int32)
    for tap in range(weights.shape[0]):
        for pixel in range(new):
            fixed[tap, pixel] = int(0.5 + weights[tap, pixel] * (1 << _BITS))
    return first, fixed


def _pixel(total: Any) -> Any:
    """A pixel of the sum of its weighted pixels: fixed-point sums, which begin with a half, end."""
    raise NotImplementedError  # compiled code alone calls it


@overload(_pixel, strict=False)  # type: ignore[untyped-decorator]
def _pixel_of(total: Any) -> Any:
    if isinstance(total, numba.types.Integer):
        return lambda total: min(total >> _BITS, 255)
    return lambda total: total


@inlined
def _down(pixels: Any, first: Any, weights: Any, start: Any) -> Any:
    """Pixels (H, W) at another height."""
    height, width, last = len(first), pixels.shape[1], pixels.shape[0] - 1
    result = np.empty((height, width), pixels.dtype)
    sums = np.empty(width, weights.dtype)
    for y in range(height):
        a, b, row = weights[0, y], weights[1, y], first[y]
        below = min(row + np.uint32(1), np.uint32(last))
        if len(weights) == 2:  # all that it takes where it grows
            for x in range(width):
                result[y, x] = _pixel(start + pixels[row, x] * a + pixels[below, x] * b)
            continue
        for x in range(width):
            sums[x] = start + pixels[row, x] * a + pixels[below, x] * b
        for tap in range(2, len(weights), 2):
            a, b, row = weights[tap, y], weights[tap + 1, y], first[y] + np.uint32(tap)
            if a or b:
                below = min(row + np.uint32(1), np.uint32(last))
                for x in range(width):
                    sums[x] = sums[x] + pixels[row, x] * a + pixels[below, x] * b
        for x in range(width):
            result[y, x] = _pixel(sums[x])
    return result


@inlined
def _across(pixels: Any, first: Any, weights: Any, start: Any) -> Any:
    """Pixels (H, W) at another width: turned over, so that the pixels of a sum lie in rows."""
    turned = _down(np.ascontiguousarray(pixels.T), first, weights, start)
    return np.ascontiguousarray(turned.T)


@inlined
def _begins_with_rows(height: int, width: int, new: tuple[int, int]) -> bool:
    """Whether Pillow makes (height, width) pixels `new` by their rows before their columns."""
    lost = height - new[0]
    return lost > 0 and lost > 2 * (width - new[1])


@inlined
def _resize(pixels: Any, rows: Any, columns: Any, start: Any, rows_first: bool) -> Any:
    """Pixels (H, W) at another size.

    Args:
        rows, columns: how each axis is weighed.
        start: what sums begin with.
        rows_first: whether rows are made before columns.
    """
    if rows_first:
        pixels = _down(pixels, rows[0], rows[1], start)
    pixels = _across(pixels, columns[0], columns[1], start)
    return pixels if rows_first else _down(pixels, rows[0], rows[1], start)


@inlined
def _cut(pixels: Any, window: Any) -> Any:
    """The image (H, W) in a window of `pixels`; see `fill_inputs`."""
    first, width, across = window[0], window[2], window[4]
    image = np.empty((window[1], width), np.uint8)
    for y in range(window[1]):
        start = first + y * window[3]
        if across == 1:
            image[y] = pixels[start : start + width]
        else:
            for x in range(width):
                image[y, x] = pixels[start + x * across]
    return image


@compiled(numba.void(_PIXELS, _ROWS, _TABLE, numba.float32[:, :, :, ::1], _ROWS, numba.boolean))
def fill_inputs(
    pixels: NDArray[np.uint8],
    windows: NDArray[np.int64],
    table: NDArray[np.float32],
    canvases: NDArray[np.float32],
    spots: NDArray[np.int64],
    antialiased: bool,
) -> None:
    """Resample images into a network's inputs.

    Args:
        pixels: of all images.
        windows: (N, 5), of each image its first pixel's place in `pixels`, height and width, and
            the steps to the pixel below and to the next one to the right; all are in bounds.
        table: (C, 256), what a pixel is as an input in each channel.
        canvases: (N, C, height, width), written whole: black around the image.
        spots: (N, 4), top, left, height and width of each image on its canvas, in pixels.
        antialiased: whether it averages where it shrinks.
    """
    for number in range(len(windows)):
        image, canvas, spot = _cut(pixels, windows[number]), canvases[number], spots[number]
        top, left, height, width = spot[0], spot[1], spot[2], spot[3]  # else read for each pixel
        rows = _weigh_fixed(image.shape[0], height, antialiased)
        columns = _weigh_fixed(image.shape[1], width, antialiased)
        rows_first = _begins_with_rows(image.shape[0], image.shape[1], (height, width))
        placed = _resize(image, rows, columns, 1 << (_BITS - 1), rows_first)
        for channel in range(len(table)):
            if height < canvas.shape[1] or width < canvas.shape[2]:
                canvas[channel] = table[channel, 0]
            for y in range(height):
                for x in range(width):
                    canvas[channel, top + y, left + x] = table[channel, placed[y, x]]


@inlined
def _span(old: int, new: int, touched: tuple[int, int]) -> tuple[int, int]:
    """The new pixels, from and to, that the old ones between `touched` give something to."""
    low, high = touched
    scale = old / new
    reach = max(scale, 1.0)
    start, end = 0, new
    while start < end and _touched(start, scale, reach, old)[1] <= low:
        start += 1
    while start < end and _touched(end - 1, scale, reach, old)[0] >= high:
        end -= 1
    return start, end


@inlined
def _runs(values: Any, spot: Any, low: Any, high: Any) -> Any:
    """Which pixels of each row of values (h, w) in a spot may be above a limit, and which are.

    Returns:
        (h, 4) columns: from and to, outside of which nothing is above `low`; from and to, between
        which everything is above `high`. Nothing is from w to 0.
    """
    height, width = spot[2], spot[3]
    runs = np.empty((height, 4), np.int64)
    for y in range(height):
        row = values[spot[0] + y, spot[1] : spot[1] + width]
        left, right, some, every = width, 0, False, True
        for x in range(width):  # all of it, since a loop that may end early is slow
            some |= row[x] > low
        if some:
            left, right = 0, width
            while row[left] <= low:
                left += 1
            while row[right - 1] <= low:
                right -= 1
        start, end = left, right
        while start < end and row[start] <= high:
            start += 1
        while start < end and row[end - 1] <= high:
            end -= 1
        for x in range(start, end):
            every &= row[x] > high
        runs[y, 0], runs[y, 1], runs[y, 2], runs[y, 3] = left, right, start, end if every else 0
    return runs


@inlined
def _joined(runs: Any, low: int, end: int) -> tuple[int, int, int, int]:
    """The run of some rows outside of which nothing is above, and the one in which all are."""
    left, right, start, stop = runs[low, 0], runs[low, 1], runs[low, 2], runs[low, 3]
    for y in range(low + 1, end):
        left, right = min(left, runs[y, 0]), max(right, runs[y, 1])
        start, stop = max(start, runs[y, 2]), min(stop, runs[y, 3])
    return left, right, start, stop


@inlined
def _starts(first: Any, old: int) -> Any:
    """For each place, from 0 to `old`, the first new pixel that begins there or behind."""
    starts = np.empty(old + 1, np.int64)
    new = 0
    for place in range(old + 1):
        while new < len(first) and first[new] < place:
            new += 1
        starts[place] = new
    return starts


@inlined
def _set_above(
    grid: Any, outer: Any, inner: Any, line: Any, run: Any, threshold: Any, packed: Any
) -> None:
    """Set the bits of a run of pixels, made as `_resize` makes them, that are above a threshold.

    Args:
        grid: values, the rows of which are weighed by `outer` after the columns by `inner`.
        line: which line of the mask, whether the grid was turned over, and the line's first bit.
    """
    y, turned, place = line
    lines, downs = outer
    columns, acrosses = inner
    last, end = np.uint32(grid.shape[0] - 1), np.uint32(grid.shape[1] - 1)
    for x in range(run[0], run[1]):
        one, two = (x, y) if turned else (y, x)
        total = 0.0
        for tap in range(len(downs)):
            row = min(lines[one] + np.uint32(tap), last)  # behind it all weights are 0
            part = 0.0
            for step in range(len(acrosses)):
                column = min(columns[two] + np.uint32(step), end)
                part += grid[row, column] * acrosses[step, two]
            total += np.float32(part) * downs[tap, one]
        if np.float32(total) > threshold:
            packed[(place + x) // 8] |= np.uint8(128 >> (place + x) % 8)


@inlined
def _set_bits(packed: Any, start: int, end: int) -> None:
    """Set the bits from `start` to `end`, which are one at least; a byte's highest is its first."""
    first, last = start // 8, (end - 1) // 8
    before, behind = np.uint8(255 >> start % 8), np.uint8(255 << 7 - (end - 1) % 8 & 255)
    if first == last:
        packed[first] |= before & behind
    else:
        packed[first] |= before
        packed[first + 1 : last] = 255
        packed[last] |= behind


@inlined
def _pack(values: Any, spot: Any, size: tuple[int, int], threshold: Any, packed: Any) -> None:
    """As `pack_above`, of one map and what is in its spot."""
    height, width = spot[2], spot[3]
    runs = _runs(values, spot, np.float32(threshold - _SLACK), np.float32(threshold + _SLACK))
    low, high = 0, height
    while low < high and runs[low, 1] == 0:
        low += 1
    while low < high and runs[high - 1, 1] == 0:
        high -= 1
    if low == high:
        return
    some = _joined(runs, low, high)
    top, bottom = _span(height, size[0], (low, high))
    left, right = _span(width, size[1], (some[0], some[1]))
    rows = _weigh(height, size[0], True, (top, bottom))
    columns = _weigh(width, size[1], True, (left, right))
    starts, behind = _starts(columns[0], width), len(columns[1]) - 1
    turned = _begins_with_rows(height, width, size)
    inner = values[spot[0] : spot[0] + height, spot[1] : spot[1] + width]
    grid, one, two = (inner.T, columns, rows) if turned else (inner, rows, columns)
    for y in range(bottom - top):
        run = _joined(runs, rows[0][y], min(rows[0][y] + len(rows[1]), height))
        begin, end = starts[max(run[0] - behind, 0)], starts[run[1]]
        sure, unsure = starts[run[2]], starts[max(run[3] - behind, 0)]
        line = y, turned, (top + y) * size[1] + left
        if sure >= unsure:
            _set_above(grid, one, two, line, (begin, end), threshold, packed)
            continue
        _set_above(grid, one, two, line, (begin, sure), threshold, packed)
        _set_bits(packed, line[2] + sure, line[2] + unsure)
        _set_above(grid, one, two, line, (unsure, end), threshold, packed)


@compiled(numba.void(_MAPS, _ROWS, _ROWS, numba.float32, numba.uint8[::1]))
def pack_above(
    values: NDArray[np.float32],
    spots: NDArray[np.int64],
    sizes: NDArray[np.int64],
    threshold: float,
    packed: NDArray[np.uint8],
) -> None:
    """Resample maps, compare them with a threshold and pack the bits.

    Resampled are the pixels alone that lie between values above and below: the outlines.

    Args:
        values: (N, h, w), probabilities.
        spots: (N, 4), top, left, height and width of what is used of each map.
        sizes: (N, 2), height and width of each mask.
        threshold: a pixel of the mask is set where the map is strictly above.
        packed: zeros. Written are the bits of each mask, line after line, the first in its byte's
            highest bit; each mask begins with a byte of its own.
    """
    begin = 0
    for number in range(len(values)):
        size = sizes[number, 0], sizes[number, 1]
        _pack(values[number], spots[number], size, threshold, packed[begin:])
        begin += (size[0] * size[1] + 7) // 8


@compiled(numba.uint8[:, ::1](_TABLE, numba.int64, numba.int64))
def resample_levels(values: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
    """Resample a map as `pack_above` does, all of it, and round it to bytes.

    Args:
        values: (h, w), probabilities.

    Returns:
        `predictions.level` of the map (height, width).
    """
    rows = _weigh(values.shape[0], height, True, (0, height))
    columns = _weigh(values.shape[1], width, True, (0, width))
    rows_first = _begins_with_rows(values.shape[0], values.shape[1], (height, width))
    found = _resize(values.copy(), rows, columns, 0.0, rows_first)
    levels = np.empty((height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            levels[y, x] = np.uint8(min(max(np.float64(found[y, x]), 0.0), 1.0) * 255.0 + 0.5)
    return levels
