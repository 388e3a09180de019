"""The order of jobs, and what becomes of those that wait for a failed one.

A chain is some jobs that do not depend on each other and one that needs them all: the folds of a
network and their evaluation. What is done already is never given to an executor.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from evaluator.errors import BusbenchError
from evaluator.progress import Progress, quiet
from harness.execution.job import Job, Say, is_done, run_once, say_nothing, unforeseen


@dataclass(frozen=True)
class Finished:
    """How a job ended."""

    job: Job
    seconds: float
    error: BusbenchError | None = None
    kept: bool = False  # done before this run


@dataclass(frozen=True)
class Chain:
    """Jobs, and the one that follows when all of them are done."""

    jobs: tuple[Job, ...]
    then: Callable[[], Job] | None = None
    then_kind: str = "evaluate"  # of the job that `then` makes


class Executor(Protocol):
    """Does jobs, here or on other machines."""

    @property
    def slots(self) -> int:
        """How many jobs at a time."""

    def submit(self, job: Job, *, first: bool = False) -> None:
        """Take a job; `first` goes before those that wait."""

    def running(self) -> tuple[Job, ...]:
        """The jobs that are being done now, as far as is known."""

    def next(self) -> Finished | None:
        """Wait for the next job to end, well or badly; None where none has for a while."""


class Serial:
    """The default executor: jobs in this process, one after the other.

    What follows from a finished job goes before what waits.
    """

    slots = 1

    def __init__(self, progress: Progress = quiet, say: Say = say_nothing) -> None:
        self._progress, self._say = progress, say
        self._waiting: deque[Job] = deque()

    def submit(self, job: Job, *, first: bool = False) -> None:
        self._waiting.appendleft(job) if first else self._waiting.append(job)

    def running(self) -> tuple[Job, ...]:
        """See `Executor`: the job that `next` will do."""
        return tuple(self._waiting)[:1]

    def next(self) -> Finished:
        job = self._waiting.popleft()
        begun = time.monotonic()
        try:
            run_once(job, self._progress, self._say)
        except BusbenchError as error:
            return Finished(job, time.monotonic() - begun, error)
        except Exception as error:  # noqa: BLE001  it must not hold up the jobs that wait
            return Finished(job, time.monotonic() - begun, unforeseen(job.label, error))
        return Finished(job, time.monotonic() - begun)


@dataclass
class RunProgress:
    """The counts of a whole run: what is left, what ended, and how long the rest may take."""

    left: Counter[str]  # jobs of each kind that have not ended
    slots: int
    finished: list[Finished] = field(default_factory=list)
    failed: list[Finished] = field(default_factory=list)  # those of them that ended badly
    skipped: int = 0  # jobs whose forerunners failed
    running: tuple[Job, ...] = ()
    _timed: Counter[str] = field(default_factory=Counter)  # jobs of each kind that took time
    _seconds: dict[str, float] = field(default_factory=dict)  # which they took together

    def take(self, end: Finished) -> None:
        """Count a job that has ended."""
        kind = end.job.kind
        self.left[kind] -= 1
        self.finished.append(end)
        if end.error is not None:
            self.failed.append(end)
        if not end.kept:
            self._timed[kind] += 1
            self._seconds[kind] = self._seconds.get(kind, 0.0) + end.seconds

    @property
    def status(self) -> int:
        """The exit status: the highest of the failures."""
        return max((int(end.error.fault) for end in self.failed if end.error), default=0)

    @property
    def total(self) -> int:
        """All jobs, those that cannot be done among them."""
        return self.left.total() + len(self.finished) + self.skipped

    @property
    def seconds_left(self) -> float | None:
        """An estimate: jobs of a kind take as long as those that ended; None before the first."""
        known = [
            self.left[kind] * self._seconds[kind] / timed for kind, timed in self._timed.items()
        ]
        return sum(known) / self.slots if known else None


Watch = Callable[[RunProgress, Finished | None], None]


class Recorder(Protocol):
    """Called about each job in this process; it may refuse one by raising a `BusbenchError`."""

    def start(self, job: Job) -> None:
        """It is about to be given to the executor."""

    def done(self, job: Job) -> None:
        """It is done, now or before; called once."""

    def failed(self, job: Job, error: BusbenchError) -> None:
        """It ended badly, or was refused here; called once."""


def run_chains(
    chains: Sequence[Chain],
    executor: Executor,
    recorder: Recorder | None = None,
    *,
    watch: Watch | None = None,
) -> RunProgress:
    """Get every job done that can be; a failed job holds up its own chain alone.

    Args:
        watch: called whenever something changed, with what has just ended.
    """
    return _Run(chains, executor, recorder, watch=watch).to_the_end()


def run_job(job: Job, progress: Progress = quiet, recorder: Recorder | None = None) -> None:
    """Get one job done in this process.

    Raises:
        BusbenchError: the error of the job, or of the recorder that refused it.
    """
    for end in run_chains([Chain((job,))], Serial(progress), recorder).failed:
        assert end.error is not None
        raise end.error


class _Run:
    def __init__(
        self,
        chains: Sequence[Chain],
        executor: Executor,
        recorder: Recorder | None,
        *,
        watch: Watch | None,
    ) -> None:
        self.chains, self.executor = chains, executor
        self.recorder, self.watch = recorder, watch
        self.state = RunProgress(_count(chains), executor.slots)
        self.waited_for = [len(chain.jobs) for chain in chains]  # before `then`
        self.spoilt: set[int] = set()  # chains with a failed job
        self.chain_of: dict[str, int] = {}
        self.under_way = 0

    def to_the_end(self) -> RunProgress:
        for index, chain in enumerate(self.chains):
            for job in chain.jobs:
                self.give(job, index)
        while self.under_way:
            self.show(None)
            end = self.executor.next()
            if end is not None:
                self.under_way -= 1
                self.settle(end)
        return self.state

    def give(self, job: Job, index: int, *, first: bool = False) -> None:
        self.chain_of[job.key] = index
        try:
            if is_done(job):
                return self.settle(Finished(job, 0.0, kept=True))
            if self.recorder is not None:
                self.recorder.start(job)
            self.executor.submit(job, first=first)
        except BusbenchError as error:
            return self.settle(Finished(job, 0.0, error))
        self.under_way += 1
        return None

    def settle(self, end: Finished) -> None:
        index, following = self.chain_of[end.job.key], None
        try:
            if end.error is None and self.recorder is not None:
                self.recorder.done(end.job)
            following = self.after(index, failed=end.error is not None)
        except BusbenchError as error:
            end = replace(end, error=error)
        if end.error is not None and self.recorder is not None:
            self.recorder.failed(end.job, end.error)
        self.state.take(end)
        self.show(end)
        if following is not None:
            self.give(following, index, first=True)

    def show(self, end: Finished | None) -> None:
        self.state.running, self.state.slots = self.executor.running(), self.executor.slots
        if self.watch is not None:
            self.watch(self.state, end)

    def after(self, index: int, *, failed: bool) -> Job | None:
        """The job that follows, once the last job that it waits for has ended."""
        chain = self.chains[index]
        if failed:
            self.spoilt.add(index)
        self.waited_for[index] -= 1
        if self.waited_for[index] != 0 or chain.then is None:
            return None
        if index not in self.spoilt:
            return chain.then()
        self.state.left[chain.then_kind] -= 1
        self.state.skipped += 1
        return None


def _count(chains: Sequence[Chain]) -> Counter[str]:
    kinds = Counter(job.kind for chain in chains for job in chain.jobs)
    return kinds + Counter(chain.then_kind for chain in chains if chain.then is not None)
