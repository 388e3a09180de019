"""Jobs: work with a key and a result file, which is done once, wherever it runs.

A job has a key: a digest of all that decides its result. It is done when its result file is there,
names that key, and every file that it lists still has the digest stated. Nothing else is recorded,
so after any kill, on whatever machine, the files show what is left to do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field

from evaluator.documents.base import Contract, Digest, read, write
from evaluator.errors import BusbenchError, Code
from evaluator.files import canonical_json, disk_error, sha256_bytes, sha256_file
from evaluator.harmless import harmless
from evaluator.progress import Progress
from harness.challenge import Challenge
from harness.execution.gpus import a_gpu, installed_gpus, usable_gpus
from harness.locking import locked
from harness.sandbox import open_runner
from harness.sandbox.cached import Context
from harness.sandbox.stage import RunnerName, StageName

Say = Callable[[str], None]  # takes a line for the user


def say_nothing(line: str) -> None:
    """Drop the line: for workers, which nobody watches."""


@dataclass(frozen=True)
class ExecutionEnvironment:
    """How a job's stages are run, on whichever machine does the job."""

    runner: RunnerName
    challenge: Challenge
    keys: Path | None = None  # the organiser's key folder
    known_keys: tuple[str, ...] = ()  # PEM: the report keys, old and new, that a ledger names

    @contextmanager
    def open(self, progress: Progress, *, gpu: bool = False) -> Iterator[Context]:
        """What stages need on this machine, with a GPU of their own where one is needed.

        Raises:
            BusbenchError: `engine-unavailable` where no engine answers.
        """
        with a_gpu(usable_gpus(os.environ, installed_gpus()) if gpu else ()) as device:
            runner = open_runner(self.runner, self.challenge, progress, gpu_device=device)
            yield Context(runner, self.challenge, progress, self.keys)


class JobResult(Contract):
    """A job's result file; its presence, with digests that agree, means done."""

    schema_: Literal["busbench/job-result/v1"] = Field(
        default="busbench/job-result/v1", alias="schema"
    )
    job: Digest  # the key of the job
    files: dict[str, Digest]  # relative to the result file's folder
    given: bool = False  # whether it goes on from what was trained outside this benchmark


class Job(Protocol):
    """One piece of work. Frozen, and small enough to be sent to another machine."""

    @property
    def kind(self) -> str:
        """`train`, `evaluate` or `validate`: jobs of one kind take about as long."""

    @property
    def label(self) -> str:
        """What people call it: `train unext on busbra, fold 2`."""

    @property
    def key(self) -> Digest:
        """A digest of all that decides the result."""

    @property
    def result(self) -> Path:
        """The result file."""

    @property
    def gpu(self) -> bool:
        """Whether it needs a GPU slot."""

    @property
    def stage(self) -> StageName | None:
        """The stage that it was in when its process died.

        None unless a participant's work runs without a container.
        """

    def run(self, progress: Progress) -> None:
        """Do it and write the result file last.

        Raises:
            BusbenchError: of whoever is to blame.
        """


def key_of(**decides: Any) -> Digest:
    """The key of a job whose result depends on these values."""
    return sha256_bytes(canonical_json(decides))


def is_done(job: Job) -> bool:
    """Whether the job's result is there and its files are as stated.

    Raises:
        BusbenchError: `output-exists` where another job's result is in its place.
    """
    if not job.result.exists():
        return False
    remedy = "Remove it, and run the same command again."
    found = read(JobResult, job.result, Code.OUTPUT_EXISTS, remedy=remedy)
    if found.job != job.key:
        raise BusbenchError(
            Code.OUTPUT_EXISTS,
            f"{job.result} is the result of another recipe, image or bundle.",
            "Name another folder with --out, or remove this one.",
        )
    return all(
        (path := job.result.parent / name).is_file() and sha256_file(path) == digest
        for name, digest in found.files.items()
    )


def run_once(job: Job, progress: Progress, say: Say = say_nothing) -> None:
    """Do a job unless it is done. Another process that does it now is waited for.

    Raises:
        BusbenchError: see `Job.run` and `is_done`.
    """

    def waiting() -> None:
        say(f"{job.label}: another process does this now; waiting for its result")

    with locked(job.result.with_name(f".{job.result.name}.lock"), waiting):
        if not is_done(job):
            job.run(progress)


def unforeseen(what: str, reason: BaseException, log: str = "its traceback") -> BusbenchError:
    """The error of work that ended with an exception which nobody foresaw: a fault of ours.

    Args:
        what: whose end it was.
        log: what to report it with.
    """
    if isinstance(reason, OSError):
        known = disk_error(reason, Path(reason.filename or "A file or folder"))
        if known is not None:
            return known
    message = f"{what} ended with {type(reason).__name__}: {harmless(reason, 300)}."
    remedy = f"Run the same command again; if it stays, report it with {log}."
    error = BusbenchError(Code.STAGE_CRASHED, message, remedy)
    error.__cause__ = reason
    return error


def write_result(job: Job, files: dict[str, Path], *, given: bool = False) -> None:
    """State that a job is done, by the digests of what it made."""
    digests = {name: sha256_file(path) for name, path in files.items()}
    write(JobResult(job=job.key, files=digests, given=given), job.result)
