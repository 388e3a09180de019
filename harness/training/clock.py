"""Clock of a training over all its runs: a new start does not renew the time limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from evaluator.errors import BusbenchError, Code
from evaluator.files import write_atomically
from harness.sandbox import Stage

TICK = 30.0  # seconds between two notes of the time that is taken


def require_time(stage: Stage) -> None:
    """Raise `limit-time` where earlier runs took all the time of a stage that resumes."""
    if stage.seconds_left:
        return
    message = f"Earlier runs took all {stage.limits.seconds} s of the {stage.name} stage's limit."
    remedy = f"Raise limits.{stage.name}.seconds in challenge.yaml, or remove {stage.output}."
    raise BusbenchError(Code.LIMIT_TIME, message, remedy, stage=stage.name, last_line=message)


def read_seconds(path: Path) -> float:
    """What earlier runs of a training have taken; what nobody can read counts as nothing."""
    try:
        return max(0.0, float(path.read_text()))
    except (OSError, ValueError):
        return 0.0


@contextmanager
def counted(path: Path, spent: float) -> Iterator[None]:
    """Keep in `path` how long this and earlier runs took, also where this process is killed.

    Args:
        spent: seconds that earlier runs took.
    """
    began, ended = time.monotonic(), threading.Event()

    def note() -> None:
        with suppress(BusbenchError):  # a full disk is the training's to report
            write_atomically(path, f"{spent + time.monotonic() - began:.0f}".encode())

    def tick() -> None:
        while not ended.wait(TICK):
            note()

    ticking = threading.Thread(target=tick, daemon=True)
    ticking.start()
    try:
        yield
    finally:
        ended.set()
        ticking.join()
        note()
