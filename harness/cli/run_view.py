"""View of a run of jobs: done, running, failed by blame, time left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from rich.progress import BarColumn, TaskID, TextColumn
from rich.progress import Progress as RichProgress

from evaluator.errors import Fault
from harness.cli.app import err
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


class RunView:
    """Draws one line about all jobs, and a bar for each step of what runs in this process."""

    def __init__(self, display: RichProgress, *, failures_here: bool = True) -> None:
        self._display, self._failures_here = display, failures_here
        self._all = display.add_task("jobs", total=None)
        self._steps: dict[str, TaskID] = {}

    def progress(self, what: str, done: int, total: int) -> None:
        if what not in self._steps:
            self._steps[what] = self._display.add_task(what, total=total)
        self._display.update(
            self._steps[what], description=f"{what} {done}/{total}", completed=done, total=total
        )

    def say(self, line: str) -> None:
        """A line that stays."""
        err.print(line, markup=False, highlight=False, soft_wrap=True)

    def watch(self, state: RunProgress, end: Finished | None) -> None:
        """Show the state of the run; a job that has ended gets a line that stays."""
        if end is not None:
            if end.error is None or self._failures_here:
                self.say(job_line(end))
            for task in self._steps.values():
                self._display.remove_task(task)
            self._steps = {}
        done = len(state.finished) - len(state.failed)
        self._display.update(
            self._all, description=summary(state), completed=done, total=state.total
        )


@contextmanager
def run_view(*, failures_here: bool = True) -> Iterator[RunView]:
    """The view of one run, on standard error.

    Args:
        failures_here: whether it says why a job failed; otherwise the caller does.
    """
    with RichProgress(TextColumn("{task.description}"), BarColumn(), console=err) as display:
        yield RunView(display, failures_here=failures_here)


def do_jobs(
    jobs: Sequence[SomeJob], cluster: str | None, recorder: Recorder | None = None
) -> tuple[list[SomeJob], RunProgress]:
    """Get jobs that do not depend on each other done, and show it; those done, in their order.

    Raises:
        BusbenchError: the error of a lone job; of many jobs, the state has them.
    """
    by_key = {job.key: job for job in jobs}
    alone = len(by_key) == 1
    gpu = any(job.gpu for job in jobs)
    with (
        run_view(failures_here=not alone) as view,
        open_executor(cluster, view.progress, view.say, gpu=gpu) as executor,
    ):
        chains = [Chain((job,)) for job in by_key.values()]
        state = run_chains(chains, executor, recorder, watch=view.watch)
    for end in state.failed:
        if alone and end.error is not None:
            raise end.error
    done = {end.job.key for end in state.finished if end.error is None}
    return [job for key, job in by_key.items() if key in done], state


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


def failures(state: RunProgress) -> list[dict[str, str]]:
    """The failed jobs, for scripts."""
    return [
        {"job": end.job.label, "code": end.error.code, "fault": end.error.fault.name.lower()}
        | {"message": end.error.message, "remedy": end.error.remedy}
        for end in state.failed
        if end.error is not None
    ]


def job_line(end: Finished) -> str:
    """One line on how a job ended."""
    if end.error is not None:
        blame = BLAME[end.error.fault]
        return f"✗ {end.job.label}: {end.error} (by {blame})"
    took = "done before" if end.kept else str(timedelta(seconds=round(end.seconds)))
    return f"✓ {end.job.label}  {took}"
