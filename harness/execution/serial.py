"""Jobs in this process, one after the other."""

from __future__ import annotations

import time
from collections import deque

from evaluator.errors import BusbenchError
from evaluator.progress import Progress, quiet
from harness.execution.job import Job, run_once
from harness.execution.scheduler import Finished


class Serial:
    """Runs jobs here; what follows from a finished job goes before what waits."""

    slots = 1

    def __init__(self, progress: Progress = quiet) -> None:
        self._progress = progress
        self._waiting: deque[Job] = deque()

    def submit(self, job: Job, *, first: bool = False) -> None:
        """See `Executor`."""
        self._waiting.appendleft(job) if first else self._waiting.append(job)

    def running(self) -> tuple[Job, ...]:
        """See `Executor`: the job that `next` will do."""
        return tuple(self._waiting)[:1]

    def next(self) -> Finished:
        """See `Executor`."""
        job = self._waiting.popleft()
        begun = time.monotonic()
        try:
            run_once(job, self._progress)
        except BusbenchError as error:
            return Finished(job, time.monotonic() - begun, error)
        return Finished(job, time.monotonic() - begun)
