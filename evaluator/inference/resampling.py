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
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from numba.extending import overload
from numpy.typing import NDArray

from evaluator.compiled import compiled, inlined

# By this, eight bytes of 0 or 1 as one number become a byte of their bits, the first being highest.
_GATHER = np.uint64(0x8040201008040201)
_BITS = 22  # of a fixed-point weight: Pillow's for 8-bit pixels
_SLACK = 1e-6  # an average of probabilities may be rounded to so much more than all of them
_IMAGE = numba.types.Array(numba.uint8, 2, "C", readonly=True)
_VALUES = numba.types.Array(numba.float32, 2, "C", readonly=True)
_AXIS = numba.types.Tuple((numba.uint32[::1], numba.float64[:, ::1]))
_SPOT = numba.types.UniTuple(numba.int64, 4)

Axis = tuple[NDArray[np.uint32], NDArray[np.float64]]  # what `_weigh` gives


@inlined
def _weigh(old: int, new: int, antialiased: bool) -> Axis:
    """How an axis of `old` pixels becomes one of `new`.

    Args:
        antialiased: whether all old pixels below a new one are averaged where it shrinks.

    Returns:
        For each new pixel its first old one, and the weights (taps, new) of it and of those behind
        it. Taps are even in number; the weights of those that are too many are 0.
    """
    scale = old / new
    reach = max(scale, 1.0) if antialiased else 1.0
    slope = 1.0 / reach
    first = np.empty(new, np.uint32)
    weights = np.zeros((2 * math.ceil(reach) + 2, new))
    most = 0
    for pixel in range(new):
        centre = (pixel + 0.5) * scale
        low = max(int(centre - reach + 0.5), 0)
        taps = min(int(centre + reach + 0.5), old) - low
        total = 0.0
        for tap in range(taps):
            weight = max(1.0 - abs((tap + low - centre + 0.5) * slope), 0.0)
            weights[tap, pixel] = weight
            total += weight
        for tap in range(taps):
            weights[tap, pixel] /= total
        first[pixel] = low
        most = max(most, taps)
    return first, weights[: most + most % 2]


@inlined
def _weigh_fixed(
    old: int, new: int, antialiased: bool
) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
    """As `_weigh`, in whole numbers: 1 is 2 ** _BITS."""
    first, weights = _weigh(old, new, antialiased)
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
    done = pixels.copy()  # of one type in all steps, which halves what is compiled
    if rows_first:
        done = _down(done, rows[0], rows[1], start)
    done = _across(done, columns[0], columns[1], start)
    return done if rows_first else _down(done, rows[0], rows[1], start)


@compiled(numba.void(_IMAGE, _VALUES, numba.float32[:, :, ::1], _SPOT, numba.boolean))
def fill_input(
    image: NDArray[np.uint8],
    table: NDArray[np.float32],
    canvas: NDArray[np.float32],
    spot: tuple[int, int, int, int],
    antialiased: bool,
) -> None:
    """Resample an image into a network's input.

    Args:
        image: (H, W).
        table: (C, 256), what a pixel is as an input in each channel.
        canvas: (C, height, width), written whole: black around the image.
        spot: top, left, height and width of the image on it, in pixels.
        antialiased: whether it averages where it shrinks.
    """
    top, left, height, width = spot
    rows = _weigh_fixed(image.shape[0], height, antialiased)
    columns = _weigh_fixed(image.shape[1], width, antialiased)
    rows_first = _begins_with_rows(image.shape[0], image.shape[1], (height, width))
    pixels = _resize(image, rows, columns, 1 << (_BITS - 1), rows_first)
    for channel in range(len(table)):
        if height < canvas.shape[1] or width < canvas.shape[2]:
            canvas[channel] = table[channel, 0]
        for y in range(height):
            for x in range(width):
                canvas[channel, top + y, left + x] = table[channel, pixels[y, x]]


@inlined
def _span(first: Any, weights: Any, touched: Any) -> tuple[int, int]:
    """The new pixels, from and to, that the old ones between `touched` give something to."""
    low, high = touched
    start, end = 0, len(first)
    while start < end and first[start] + len(weights) <= low:
        start += 1
    while end > start and first[end - 1] >= high:
        end -= 1
    return start, end


@inlined
def _part(first: Any, weights: Any, cut: int, start: int, end: int) -> Any:
    """How the new pixels from `start` to `end` are made of old ones without the first `cut`."""
    moved = np.empty(end - start, np.uint32)
    some = np.empty((len(weights), end - start), weights.dtype)
    for pixel in range(end - start):
        moved[pixel] = first[start + pixel] - cut
        for tap in range(len(weights)):
            some[tap, pixel] = weights[tap, start + pixel]
    return moved, some


@inlined
def _box(values: Any, limit: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """The rows and columns, from and to, of values (h, w) that are above a limit."""
    columns = np.zeros(values.shape[1], np.uint8)
    top, bottom = values.shape[0], 0
    for y in range(values.shape[0]):
        found = 0
        for x in range(values.shape[1]):
            is_above = values[y, x] > limit
            columns[x] |= is_above
            found |= is_above
        if found:
            top, bottom = min(top, y), y + 1
    left, right = values.shape[1], 0
    for x in range(values.shape[1]):
        if columns[x]:
            left, right = min(left, x), x + 1
    return (top, bottom), (left, right)


@compiled(_AXIS(numba.int64, numba.int64))
def _axis(old: int, new: int) -> Axis:
    """What `_weigh` gives for a map's axis of `old` pixels that becomes one of `new`."""
    first, weights = _weigh(old, new, True)
    return first, np.ascontiguousarray(weights)


axis = lru_cache(maxsize=256)(_axis)  # fold models ask for the same ones


def pack_above(
    values: NDArray[np.float32], height: int, width: int, threshold: float
) -> NDArray[np.uint8]:
    """Resample a map, compare it with a threshold and pack the bits.

    Only what may be above is resampled: most of an image is no lesion.

    Args:
        values: (h, w), probabilities.
        threshold: a pixel of the mask is set where the map is strictly above.

    Returns:
        The bits of a mask (height, width), line after line, the first in its byte's highest bit.
    """
    rows, columns = axis(values.shape[0], height), axis(values.shape[1], width)
    return pack_weighed(values, rows, columns, threshold)


@compiled(numba.uint8[::1](_VALUES, _AXIS, _AXIS, numba.float32))
def pack_weighed(
    values: NDArray[np.float32], rows: Axis, columns: Axis, threshold: float
) -> NDArray[np.uint8]:
    """As `pack_above`, given what `axis` says of the map's rows and columns."""
    height, width = len(rows[0]), len(columns[0])
    packed = np.zeros((height * width + 7) // 8, np.uint8)
    lines, places = _box(values, np.float32(threshold - _SLACK))
    top, bottom = _span(rows[0], rows[1], lines)
    left, right = _span(columns[0], columns[1], places)
    if top < bottom and left < right:  # the rest is not above
        lowest = top * width // 8  # of the bytes that are touched
        above = np.zeros((bottom * width + 7) // 8 * 8 - 8 * lowest, np.uint8)
        rows_first = _begins_with_rows(values.shape[0], values.shape[1], (height, width))
        start = rows[0][top]
        used = values[start : min(rows[0][bottom - 1] + len(rows[1]), len(values))]
        found = _resize(
            used,
            _part(rows[0], rows[1], start, top, bottom),
            _part(columns[0], columns[1], 0, left, right),
            0.0,
            rows_first,
        )
        for y in range(bottom - top):
            place = (top + y) * width + left - 8 * lowest
            for x in range(right - left):
                above[place + x] = found[y, x] > threshold
        for number, pixels in enumerate(above.view(np.uint64)):
            packed[lowest + number] = pixels * _GATHER >> np.uint64(56)
    return packed


@compiled(numba.uint8[:, ::1](_VALUES, numba.int64, numba.int64))
def resample_levels(values: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
    """Resample a map as `pack_above` does, all of it, and round it to bytes.

    Args:
        values: (h, w), probabilities.

    Returns:
        `predictions.level` of the map (height, width).
    """
    rows, columns = _weigh(values.shape[0], height, True), _weigh(values.shape[1], width, True)
    rows_first = _begins_with_rows(values.shape[0], values.shape[1], (height, width))
    found = _resize(values, rows, columns, 0.0, rows_first)
    levels = np.empty((height, width), np.uint8)
    for y in range(height):
        for x in range(width):
            levels[y, x] = np.uint8(min(max(np.float64(found[y, x]), 0.0), 1.0) * 255.0 + 0.5)
    return levels
