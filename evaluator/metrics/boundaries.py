"""The boundary of a mask, drawn by operations on words of 64 pixels; and the list of its points."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros
from numpy.typing import NDArray

from evaluator.compiled import inlined
from evaluator.metrics.packing import WORD, Words

Box = tuple[int, int, int, int]
Columns = NDArray[np.uint16]
Points = tuple[NDArray[np.int64], Columns]


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
def outline(words: Words, width: int, most: int, box: Box, eight: bool) -> Points:
    """The points of a mask's boundary, in raster order.

    Args:
        most: the mask's pixels.
        eight: as for `kernel.distances`.

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
