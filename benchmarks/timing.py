"""How are speeds compared here? Candidates take turns on the same input, and medians are told."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from statistics import median
from typing import TypeVar

from evaluator.inference.hardware import device_name

Input = TypeVar("Input")


def interleaved(
    candidates: Mapping[str, Callable[[Input], object]],
    inputs: Sequence[Input],
    warm_up: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds a call of each candidate, all of them in turn on every input.

    Each is called twice in its turn and the better counts: the turn before has emptied the
    processor's caches, which would cost a fast candidate more than a slow one.

    Args:
        warm_up: how many of the inputs each candidate sees first, untimed.
        clock: `time.process_time` counts this process's work alone, on a machine that others use.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for item in inputs[:warm_up]:
        for call in candidates.values():
            call(item)
    for number, item in enumerate(inputs):
        turn = number % len(candidates)  # nobody always follows the same neighbour
        for name, call in [*candidates.items()][turn:] + [*candidates.items()][:turn]:
            times[name].append(min(_seconds(call, item, clock) for _ in range(2)))
    return {name: median(taken) for name, taken in times.items()}


def _seconds(call: Callable[[Input], object], item: Input, clock: Callable[[], float]) -> float:
    start = clock()
    call(item)
    return clock() - start


def machine() -> str:
    """The processor, its cores, the load it was under, and Python's version, in one line."""
    name, cores, load = device_name("cpu"), os.cpu_count(), os.getloadavg()[0]
    return f"{name}, {cores} cores, load {load:.1f}, Python {platform.python_version()}"


def versions(*packages: str) -> str:
    """`name version` of each package, joined by commas."""
    return ", ".join(f"{package} {version(package)}" for package in packages)
