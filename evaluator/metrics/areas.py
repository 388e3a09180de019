"""The connected areas of a mask, and the lesions that one matches, in time linear in the pixels.

Numbers of areas and lesions are a participant's and a label's: a table of all pairs would be as
large as both together let it be.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros
from numpy.typing import NDArray

from evaluator.compiled import compiled, inlined
from evaluator.metrics.boundaries import Box
from evaluator.metrics.packing import WORD, Words

LESIONS = 256  # numbers that a label's pixel can have
FAR = 2**30  # beyond all columns

# Unsigned, since numba looks at each signed index whether it counts from the end.
Numbers = NDArray[np.uint32]
Runs = tuple[Numbers, Numbers]  # of a row: ends of `_runs`, and each run's number from index 1
Areas = NDArray[np.int32]

_PAIR = numba.types.UniTuple(numba.int64, 2)
_BOX = numba.types.UniTuple(numba.int64, 4)
_LESIONS = numba.types.Array(numba.uint8, 1, "C", readonly=True)  # as decoders give them


@inlined
def _runs(row: Words, ends: Numbers) -> int:
    """Where a row's runs of foreground begin and end, in turns, into `ends`; and how many runs.

    Columns are counted from the border's first. The runs are put behind one at 0, and one that is
    far away behind them: neither touches any.

    Args:
        row: packed, with a word of background on either side.
    """
    count = np.uint32(2)
    for k in range(1, row.size):
        turns = row[k] ^ (row[k] << np.uint64(1) | row[k - 1] >> np.uint64(WORD - 1))
        while turns:
            ends[count] = WORD * k + trailing_zeros(turns)
            count = np.uint32(count + 1)
            turns &= turns - np.uint64(1)
    ends[count : count + 2] = FAR
    return int(count // 2 - 1)


@inlined
def _number(
    count: int, left: Any, here: Runs, above: Runs, parents: Numbers, known: Any, marks: Areas
) -> Any:
    """Give each of a row's runs a number, that of a run it touches in the row above or a new one.

    The smallest number of an area is found by way of its parents, and that way is halved. All is
    in one function: numba counts the references to arrays at each call.

    Args:
        marks: of the row's pixels and one more, zeros. A run's number is put where it begins, and
            the same below zero behind its end.

    Returns:
        The largest number that is known now.
    """
    (ends, numbers), (ends_above, numbers_above) = here, above
    touched = np.uint32(1)  # runs above are looked at in order; the last also for the next run
    for run in range(1, count + 1):
        start, end, number = ends[2 * run], ends[2 * run + 1], np.uint32(0)
        touched = np.uint32(touched - np.uint32(ends_above[2 * touched - 1] >= start))
        while ends_above[2 * touched + 1] < start:
            touched = np.uint32(touched + 1)
        while ends_above[2 * touched] <= end:
            other = numbers_above[touched]
            while parents[other] != other:
                parents[other] = parents[parents[other]]
                other = parents[other]
            if number == 0 or other < number:
                number, other = other, number
            if other > number:
                parents[other] = number
            touched = np.uint32(touched + 1)
        if number == 0:
            known = np.uint32(known + 1)
            number = known
            parents[known] = number
        numbers[run] = number
        marks[np.uint32(start - left)] = number
        marks[np.uint32(end - left)] = -np.int32(number)
    return known


@inlined
def _fill(parents: Numbers, areas: Areas) -> int:
    """Give each area's pixels one number, where its runs are marked.

    Returns:
        How many areas there are.
    """
    count = 0
    for number in range(1, parents.size):
        if parents[number] == number:
            count += 1
            parents[number] = count
        else:  # its parent is smaller, and has its last number already
            parents[number] = parents[parents[number]]
    for y in range(areas.shape[0]):
        run = np.uint32(0)
        for x in range(areas.shape[1]):
            run = np.uint32(run + np.uint32(areas[y, x]))
            areas[y, x] = parents[run]
    return count


@compiled(numba.int64(numba.uint64[:, ::1], _BOX, numba.int32[:, ::1]))
def connected(words: Words, box: Box, areas: Areas) -> int:
    """Number the connected areas (8 neighbours) of a mask from 1, in raster order.

    Each run of foreground in a row takes the number of a run that it touches in the row above, and
    joins the numbers of the others; in nearly linear time, whatever the mask (Tarjan, 1975).

    Args:
        words: the mask, packed with a border of background.
        box: (top, bottom, left, right), half-open, around all foreground.
        areas: (H, W) of the box; each pixel's area is put there, 0 where none is.

    Returns:
        How many there are.
    """
    top, bottom, left, right = box
    most = (right - left + 1) // 2  # runs of a row; every other row can have as many new numbers
    parents = np.zeros((bottom - top + 1) // 2 * most + 1, np.uint32)
    here = np.zeros(2 * most + 4, np.uint32), np.empty(most + 1, np.uint32)
    above = np.full(here[0].size, FAR, np.uint32), here[1].copy()
    above[0][:2] = 0
    marks = np.empty(right - left + 1, np.int32)
    known = np.uint32(0)
    for y in range(top, bottom):
        count = _runs(words[y + 1], here[0])
        marks[:] = 0
        known = _number(count, np.uint32(WORD + left), here, above, parents, known, marks)
        areas[y - top] = marks[:-1]
        here, above = above, here
    return _fill(parents[: known + 1], areas)


@compiled(_PAIR(numba.int32[::1], _LESIONS, numba.int64))
def matches(areas: Areas, lesions: NDArray[np.uint8], count: int) -> tuple[int, int]:
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
