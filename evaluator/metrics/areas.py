"""The connected areas of a mask, and the lesions that one matches, in time linear in the pixels.

Numbers of areas and lesions are a participant's and a label's: a table of all pairs would be as
large as both together let it be.
"""

from __future__ import annotations

import numba
import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros
from numpy.typing import NDArray

from evaluator.compiled import compiled, inlined
from evaluator.metrics.boundaries import Box
from evaluator.metrics.packing import WORD, Words

LESIONS = 256  # numbers that a label's pixel can have
NEVER = -(2**30)  # no column

Numbers = NDArray[np.int32]
Runs = tuple[Numbers, Numbers]  # of a row: ends of `_runs`, and each run's number from index 1

_PAIR = numba.types.UniTuple(numba.int64, 2)
_BOX = numba.types.UniTuple(numba.int64, 4)


@inlined
def _runs(row: Words, ends: Numbers) -> int:
    """Where a row's runs of foreground begin and end, in turns, into `ends`; and how many runs.

    One that touches none is put before the first and behind the last.

    Args:
        row: packed, with a word of background on either side.
    """
    ends[:2] = NEVER
    count = 2
    for k in range(1, row.size):
        turns = row[k] ^ (row[k] << np.uint64(1) | row[k - 1] >> np.uint64(WORD - 1))
        while turns:
            ends[count] = WORD * (k - 1) + trailing_zeros(turns)
            count += 1
            turns &= turns - np.uint64(1)
    ends[count : count + 2] = -NEVER
    return count // 2 - 1


@inlined
def _number(count: int, here: Runs, above: Runs, parents: Numbers, known: int) -> int:
    """Give each of a row's runs a number, that of a run it touches in the row above or a new one.

    The smallest number of an area is found by way of its parents, and that way is halved. It is
    written out here: numba counts the references of arrays at each call.

    Returns:
        The largest number that is known now.
    """
    (ends, numbers), (ends_above, numbers_above) = here, above
    touched = 1  # runs of the row above are looked at in order; the last also for the next run
    for run in range(1, count + 1):
        start, end, number = ends[2 * run], ends[2 * run + 1], np.int32(0)
        touched -= ends_above[2 * touched - 1] >= start
        while ends_above[2 * touched + 1] < start:
            touched += 1
        while ends_above[2 * touched] <= end:
            other = numbers_above[touched]
            while parents[other] != other:
                parents[other] = parents[parents[other]]
                other = parents[other]
            if number == 0 or other < number:
                number, other = other, number
            if other > number:
                parents[other] = number
            touched += 1
        if number == 0:
            known += 1
            number = np.int32(known)
            parents[known] = number
        numbers[run] = number
    return known


@inlined
def _fill(parents: Numbers, areas: Numbers) -> int:
    """Give each area's pixels one number, from its runs' first pixels and those behind them.

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
        number = 0
        for x in range(areas.shape[1]):
            number += areas[y, x]
            areas[y, x] = parents[number]
    return count


@compiled(numba.int64(numba.uint64[:, ::1], _BOX, numba.int32[:, ::1]))
def connected(words: Words, box: Box, areas: Numbers) -> int:
    """Number the connected areas (8 neighbours) of a mask from 1, by their first pixels.

    Each run of foreground in a row takes the number of a run that it touches in the row above, and
    joins the numbers of the others; in nearly linear time, whatever the mask (Tarjan, 1975).

    Args:
        words: the mask, packed with a border of background.
        box: (top, bottom, left, right), half-open, around all foreground.
        areas: (H, W) of the box, zeros; each pixel's area is put there.

    Returns:
        How many there are.
    """
    top, bottom, left, right = box
    most = (right - left + 1) // 2  # runs of a row; every other row can have as many new numbers
    parents = np.zeros((bottom - top + 1) // 2 * most + 1, np.int32)
    here = np.empty(2 * most + 4, np.int32), np.empty(most + 1, np.int32)
    above = np.full(here[0].size, -NEVER, np.int32), here[1].copy()
    above[0][:2] = NEVER
    known = 0
    for y in range(top, bottom):
        count = _runs(words[y + 1], here[0])
        known = _number(count, here, above, parents, known)
        for run in range(1, count + 1):
            start, end = here[0][2 * run] - left, here[0][2 * run + 1] - left
            areas[y - top, start] = here[1][run]
            if end < areas.shape[1]:
                areas[y - top, end] = -here[1][run]
        here, above = above, here
    return _fill(parents[: known + 1], areas)


@compiled(_PAIR(numba.int32[::1], numba.uint8[::1], numba.int64))
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
