"""Usage of a container, as the engine reports it: seconds, and memory at its peak."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

import docker
import requests
from docker.errors import APIError
from docker.models.containers import Container

from evaluator.documents.reading import MEBIBYTE
from harness.sandbox.stage import StageUsage

INTERVAL = 0.2  # seconds between two samples of memory; engines take up to a second for each
SHORTEST = 5.0  # seconds that a container must run for its samples to be a peak


def memory_in_use(stats: Mapping[str, Any]) -> int | None:
    """Bytes that the engine's statistics report, without file pages that can be dropped.

    As `docker stats` has it: `total_inactive_file` of control groups v1, `inactive_file` of v2.
    """
    memory = stats.get("memory_stats") or {}
    if "usage" not in memory:
        return None
    found = memory.get("stats") or {}
    pages = found.get("total_inactive_file", found.get("inactive_file", 0))
    return max(0, int(memory["usage"]) - int(pages))


@contextmanager
def sampled(api: docker.APIClient, container: Container) -> Iterator[list[int]]:
    """Sample a running container's memory, in bytes, in a thread."""
    samples: list[int] = []
    ended = threading.Event()

    def work() -> None:
        # it may have ended, or the engine be busy: then a sample is missing
        while not ended.is_set():
            with suppress(APIError, requests.RequestException, ValueError):
                found = memory_in_use(api.stats(str(container.id), stream=False, one_shot=True))
                if found:
                    samples.append(found)
            ended.wait(INTERVAL)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join(timeout=10)


def usage_of(state: Mapping[str, Any], samples: list[int]) -> StageUsage:
    """What a container took.

    Args:
        state: of the ended container, by `docker inspect`.
        samples: of its memory, in bytes.
    """
    began, ended = (datetime.fromisoformat(state[name]) for name in ("StartedAt", "FinishedAt"))
    seconds = max(0.0, (ended - began).total_seconds())
    peak = max(samples) // MEBIBYTE if samples and seconds >= SHORTEST else None
    return StageUsage(seconds=round(seconds, 3), host_memory_mb=peak)
