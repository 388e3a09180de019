"""The latency of a model, and the batch size that suits this machine.

Both are measured on the model alone, on noise of its input's shape, before the test cases come.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from evaluator.documents.inference import BatchSize
from evaluator.documents.submission import InputSpec
from evaluator.errors import BusbenchError
from evaluator.inference.backends import Model
from evaluator.inference.hardware import memory_limit, peak_memory

WARM_UP, FEWEST, MOST = 2, 3, 10  # runs at batch 1
SECONDS = 2.0  # after which no more runs at batch 1, and no larger batches, are tried
RUNS = 3  # of each larger batch; the first warms up
GAIN = 1.05  # images a second that a doubled batch must win to be worth its memory
MAX_BATCH = 64
SHARE = 0.8  # of the memory limit that a larger batch may be expected to take


class BatchTiming(NamedTuple):
    """A model's speed on this machine, and the batch size that suits it."""

    latency_ms: float  # median of one image at batch 1, after a warm-up, the network alone
    batch_size: int


def measure(model: Model, spec: InputSpec, batch_size: BatchSize) -> BatchTiming:
    """Time the model at batch 1 and, where that is asked for, at larger ones."""
    alone = latency(model, spec)
    if batch_size == "auto":
        peaks = [peak_memory()]
        batch_size = choose_batch(alone, lambda size: _try(model, spec, peaks, batch_size=size))
    return BatchTiming(round(1000 * alone, 3), batch_size)


def latency(model: Model, spec: InputSpec) -> float:
    """Median seconds of one image at batch 1, after a warm-up."""
    times = _seconds(model, spec, 1, runs=WARM_UP + FEWEST)[WARM_UP:]
    affordable = int((SECONDS - sum(times)) / max(times))
    times += _seconds(model, spec, 1, runs=max(0, min(MOST - FEWEST, affordable)))
    return statistics.median(times)


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


def _try(model: Model, spec: InputSpec, peaks: list[int], *, batch_size: int) -> float | None:
    """Seconds of a batch, unless it would pass the memory limit if it grows as the last one did."""
    growth = peaks[-1] - peaks[-2] if len(peaks) > 1 else 0
    if peaks[-1] + 2 * growth > SHARE * memory_limit():
        return None
    try:
        seconds = min(_seconds(model, spec, batch_size, runs=RUNS)[1:])
    except BusbenchError:  # a device out of memory: what ran before still does
        return None
    peaks.append(peak_memory())
    return seconds


def _seconds(model: Model, spec: InputSpec, batch_size: int, *, runs: int) -> list[float]:
    """Wall-clock seconds of each of `runs` runs."""
    shape = (batch_size, spec.depth, spec.height, spec.width)
    batch = np.random.default_rng(0).random(shape, np.float32)
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        model.run(batch)
        times.append(time.perf_counter() - start)
    return times
