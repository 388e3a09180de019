"""The batch size that suits a model on this machine, measured before the test cases come."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import BusbenchError
from evaluator.inference.backends import Model
from evaluator.inference.hardware import memory_limit, peak_memory

SECONDS = 0.5  # after which no larger batches are tried
RUNS = 3  # of each batch; the first warms up
GAIN = 1.05  # images a second that a doubled batch must win to be worth its memory
MAX_BATCH = 64
SHARE = 0.8  # of the memory limit that a larger batch may be expected to take


Inputs = NDArray[np.float32]


def measure_batch(model: Model, inputs: Inputs) -> int:
    """The batch size that gives most images a second.

    Args:
        inputs: some images (N, C, height, width).
    """
    peaks = [peak_memory()]
    alone = _fastest(model, inputs[:1])
    return choose_batch(alone, lambda size: _try(model, inputs, peaks, batch_size=size))


def choose_batch(alone: float, try_batch: Callable[[int], float | None]) -> int:
    """Double the batch while that pays, and while the tries together stay within `SECONDS`.

    Args:
        alone: seconds of one image at batch 1.
        try_batch: from a batch size to its seconds, or None where it does not fit.
    """
    best, seconds, spent = 1, alone, 0.0
    while best < MAX_BATCH:
        expected = 2 * seconds
        spent += RUNS * expected
        found = try_batch(2 * best) if spent <= SECONDS else None
        if found is None or found * GAIN > expected:
            break
        best, seconds = 2 * best, found
    return best


def _try(model: Model, inputs: Inputs, peaks: list[int], *, batch_size: int) -> float | None:
    """Seconds of a batch, unless it would pass the memory limit if it grows as the last one did."""
    growth = peaks[-1] - peaks[-2] if len(peaks) > 1 else 0
    if peaks[-1] + 2 * growth > SHARE * memory_limit():
        return None
    try:
        seconds = _fastest(model, np.resize(inputs, (batch_size, *inputs.shape[1:])))
    except BusbenchError:  # a device out of memory: what ran before still does
        return None
    peaks.append(peak_memory())
    return seconds


def _fastest(model: Model, batch: Inputs) -> float:
    """Wall-clock seconds of the fastest of `RUNS` runs, the first of which warms up."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        model.run(batch)
        times.append(time.perf_counter() - start)
    return min(times[1:])
