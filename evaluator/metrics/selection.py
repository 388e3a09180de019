"""The k-th smallest of many numbers, in time linear in them, however they are ordered and repeated.

`numpy.partition` takes twenty times as long on some orders, which a participant could choose. Here
the numbers are counted by interval, and the interval that holds the k-th is looked at again, until
it holds one number alone, however often. Each time it is a thousand times narrower. A small sample
mostly tells the first interval; where it misleads, all is counted.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from evaluator.compiled import compiled, inlined

Floats = NDArray[np.float64]

INTERVALS = 1024
SAMPLE = 257  # numbers
MARGIN = 10  # of them, before and after the expected one
TURNS = 4  # tables of counts, since to count in one place again at once is slow


@inlined
def _extremes(values: Floats) -> tuple[float, float]:
    """The smallest and the largest; the bits of such numbers, read as an integer, order alike."""
    bits = values.view(np.int64)
    low = high = bits[0]
    for i in range(bits.size):
        low, high = min(low, bits[i]), max(high, bits[i])
    ends = np.array([low, high]).view(np.float64)
    return ends[0], ends[1]


@inlined
def _counted(values: Floats, low: float, scale: float, counts: NDArray[np.uint32]) -> None:
    """Count the values of each interval, in the first table; the others are used up."""
    counts[:] = 0
    whole = values.size // TURNS * TURNS
    for i in range(0, whole, TURNS):
        for k in range(TURNS):
            counts[k, np.uint32((values[i + k] - low) * scale)] += np.uint32(1)
    for i in range(whole, values.size):
        counts[0, np.uint32((values[i] - low) * scale)] += np.uint32(1)
    for k in range(1, TURNS):
        for i in range(INTERVALS):
            counts[0, i] += counts[k, i]


@inlined
def _likely(values: Floats, rank: int) -> tuple[Floats, int]:
    """The values near the one at `rank`, by a sample, and its rank there; or all values and rank.

    The value behind it is among them too.
    """
    sample, stride = np.empty(SAMPLE), values.size // SAMPLE
    for i in range(SAMPLE):  # at uneven steps: a pattern of the masks may repeat in even ones
        sample[i] = values[i * stride + i * i % stride]
    sample.sort()
    expected = rank * sample.size // values.size
    low, guess = sample[max(expected - MARGIN, 0)], sample[expected]
    high = sample[min(expected + MARGIN, sample.size - 1)]
    before, less, until, through = 0, 0, 0, 0
    for i in range(values.size):
        before += values[i] < low
        less += values[i] < guess
        until += values[i] <= high
        through += values[i] <= guess
    if less <= rank < through - 1:
        return np.full(2, guess), 0
    if not before <= rank < until - 1:
        return values, rank
    kept, count = np.empty(until - before + 1), 0
    for i in range(values.size):
        kept[count] = values[i]
        count += low <= values[i] <= high
    return kept[:-1], rank - before


@compiled(numba.types.UniTuple(numba.float64, 2)(numba.float64[::1], numba.int64))
def selected(values: Floats, rank: int) -> tuple[float, float]:
    """The values at `rank` and behind it in ascending order, the first being at 0.

    Args:
        values: 1-D, none negative or NaN; more than `rank`.

    Returns:
        Both; the second is infinite where there is none.
    """
    counts = np.empty((TURNS, INTERVALS), np.uint32)
    behind = np.inf
    if values.size > SAMPLE * TURNS:
        values, rank = _likely(values, rank)
    low, high = _extremes(values)
    while low < high:
        scale = (INTERVALS - 1) / (high - low)
        if not 0 < scale < np.inf:  # no interval of such numbers can be divided
            values = np.sort(values)
            return values[rank], values[rank + 1] if rank + 1 < values.size else behind
        _counted(values, low, scale, counts)
        chosen, inside = 0, int(counts[0, 0])
        while rank >= inside:
            rank -= inside
            chosen += 1
            inside = int(counts[0, chosen])
        kept, size = np.empty(inside + 1), 0
        for value in values:
            interval = np.uint32((value - low) * scale)
            kept[size] = value
            size += interval == chosen
            if interval > chosen:
                behind = min(behind, value)
        values = kept[:inside]
        low, high = _extremes(values)
    return low, low if rank + 1 < values.size else behind
