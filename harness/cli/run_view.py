"""View of a run of jobs: done, running, failed by blame, time left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import typer

from evaluator.errors import BusbenchError, Fault
from evaluator.harmless import harmless
from harness.cli.app import err
from harness.cli.screen import Bars, print_json
from harness.execution import (
    Chain,
    Finished,
    Job,
    Recorder,
    RunProgress,
    open_executor,
    run_chains,
)

SomeJob = TypeVar("SomeJob", bound=Job)

# Whose fault a failed job is, in the words of the README's table.
BLAME = {
    Fault.USAGE: "the command",
    Fault.SUBMISSION: "the submission",
    Fault.ORGANISER: "the organiser",
    Fault.INFRASTRUCTURE: "the machine",
}


ALL = "jobs"  # the bar of all jobs; no step is called so


class RunView:
    """Draws one line about all jobs, and a bar for each step of what runs in this process."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        bars.update(ALL, 0, None)

    def progress(self, what: str, done: int, total: int) -> None:
        self._bars.update(f"step {what}", done, total, shown=harmless(f"{what} {done}/{total}"))

    def say(self, line: str) -> None:
        """A line that stays."""
        err.print(harmless(line))

    def watch(self, state: RunProgress, end: Finished | None) -> None:
        """Show the state of the run; a job that has ended gets a line that stays."""
        if end is not None:
            self.say(job_line(end))
            self._bars.clear(but=ALL)
        done = len(state.finished) - len(state.failed)
        self._bars.update(ALL, done, state.total, shown=harmless(summary(state)))


@contextmanager
def run_view() -> Iterator[RunView]:
    """The view of one run, on standard error."""
    with err.bars(timed=False) as bars:
        yield RunView(bars)


class Failure(NamedTuple):
    """Something of a batch that could not be done, and why."""

    job: str  # what people call it
    error: BusbenchError

    @property
    def line(self) -> str:
        return f"✗ {self.job}: {self.error.shown} (by {BLAME[self.error.fault]})"

    def document(self) -> dict[str, str]:
        """The failure, for scripts."""
        error = self.error
        return {
            "job": self.job,
            "code": error.code,
            "fault": error.fault.name.lower(),
            "message": error.message,
            "remedy": error.remedy,
        }


@dataclass(frozen=True)
class Batch(Generic[SomeJob]):
    """What came of a batch: one shape, however many there were and however they ended."""

    done: list[SomeJob]  # in the order in which they were given
    failed: list[Failure]

    def print_json(self, name: str, done: list[Any], **more: Any) -> None:
        """Print what was made, under a name, beside `more` of it and what failed."""
        failed = [failure.document() for failure in self.failed]
        print_json({name: done, **more, "failed": failed})

    def exit(self) -> None:
        """End the verb with the highest status of the failures, where there is one."""
        if self.failed:
            raise typer.Exit(max(int(failure.error.fault) for failure in self.failed))


def make_jobs(
    make: Callable[[Path], SomeJob], folders: Sequence[Path]
) -> tuple[list[SomeJob], list[Failure]]:
    """A job for each submission's folder; one that breaks its contract holds up no other.

    Raises:
        BusbenchError: what is not a submission's fault, and so true of all.
    """
    jobs, refused = [], []
    for folder in folders:
        try:
            jobs.append(make(folder))
        except BusbenchError as error:
            if error.fault is not Fault.SUBMISSION:
                raise
            refused.append(Failure(str(folder), error))
    return jobs, refused


def do_jobs(
    jobs: Sequence[SomeJob],
    cluster: str | None,
    recorder: Recorder | None = None,
    *,
    refused: Sequence[Failure] = (),
) -> Batch[SomeJob]:
    """Get jobs that do not depend on each other done, and show it.

    Args:
        refused: what never became a job; it is reported first.
    """
    for failure in refused:
        err.print(harmless(failure.line))
    by_key = {job.key: job for job in jobs}
    if not by_key:
        return Batch([], [*refused])
    gpu = any(job.gpu for job in jobs)
    with run_view() as view, open_executor(cluster, view.progress, view.say, gpu=gpu) as executor:
        chains = [Chain((job,)) for job in by_key.values()]
        state = run_chains(chains, executor, recorder, watch=view.watch)
    done = {end.job.key for end in state.finished if end.error is None}
    kept = [job for key, job in by_key.items() if key in done]
    return Batch(kept, [*refused, *failures(state)])


def summary(state: RunProgress) -> str:
    """`7 of 12 done · running: train unext on busbra, fold 2 · 1:20:00 left`."""
    parts = [f"{len(state.finished) - len(state.failed)} of {state.total} done"]
    if state.running:
        names = "; ".join(job.label for job in state.running[:3])
        more = f" and {len(state.running) - 3} more" if len(state.running) > 3 else ""
        parts.append(f"running: {names}{more}")
    if state.failed:
        blame = Counter(BLAME[end.error.fault] for end in state.failed if end.error)
        parts.append("failed: " + ", ".join(f"{count} by {who}" for who, count in blame.items()))
    if state.skipped:
        parts.append(f"{state.skipped} cannot be done")
    if state.left.total() and state.seconds_left is not None:
        parts.append(f"about {timedelta(seconds=round(state.seconds_left))} left")
    return " · ".join(parts)


def failures(state: RunProgress) -> list[Failure]:
    """The failed jobs."""
    return [Failure(end.job.label, end.error) for end in state.failed if end.error is not None]


def job_line(end: Finished) -> str:
    """One line on how a job ended."""
    if end.error is not None:
        return Failure(end.job.label, end.error).line
    took = "done before" if end.kept else str(timedelta(seconds=round(end.seconds)))
    return f"✓ {end.job.label}  {took}"
