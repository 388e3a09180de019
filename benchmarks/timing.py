"""Comparison of speeds: candidates take turns on the same input, and medians are reported."""

from __future__ import annotations

import os
import platform
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from statistics import median
from typing import TypeVar

from evaluator.inference.hardware import device_name

Input = TypeVar("Input")
Clock = Callable[[], float]


def interleaved(
    candidates: Mapping[str, Callable[[Input], object]],
    inputs: Sequence[Input],
    warm_up: int = 3,
    *,
    clock: Clock = time.perf_counter,
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
            times[name].append(min(seconds(call, item, clock=clock) for _ in range(2)))
    return {name: median(taken) for name, taken in times.items()}


def seconds(
    call: Callable[..., object], *arguments: object, clock: Clock = time.perf_counter
) -> float:
    """How long one call takes."""
    start = clock()
    call(*arguments)
    return clock() - start


def race(
    candidates: Mapping[str, Callable[[], object]], rounds: int
) -> list[dict[str, tuple[float, float]]]:
    """Seconds of each candidate in a round, one after the other: wall, and CPU of all cores."""

    def lap(run: Callable[[], object]) -> tuple[float, float]:
        cpu = time.process_time()
        return seconds(run), time.process_time() - cpu

    return [{name: lap(run) for name, run in candidates.items()} for _ in range(rounds)]


def peak_gigabytes() -> float:
    """The most memory that this process has had, in 10^9 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def row(*cells: object) -> str:
    """One line of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def head(*columns: str, text: int = 1) -> str:
    """The head of a Markdown table whose first `text` columns are words, the others numbers."""
    return f"{row(*columns)}\n{row(*['---'] * text, *['---:'] * (len(columns) - text))}"


def machine(*packages: str) -> str:
    """The processor, its cores and load, and versions, in one line."""
    named = ", ".join(f"{package} {version(package)}" for package in packages)
    name, cores, load = device_name("cpu"), os.cpu_count(), os.getloadavg()[0]
    python = f"Python {platform.python_version()}"
    return f"{name}, {cores} cores, load {load:.1f}, {python}" + (f"; {named}" if named else "")
