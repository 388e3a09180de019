"""What is a job, and when is it done?

A job has a key: a digest of all that decides its result. It is done when its result file is there,
names that key, and every file that it lists still has the digest stated. Nothing else is recorded,
so whoever was killed, on whatever machine, the disk tells what is left to do.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from pydantic import Field

from evaluator.documents.base import Contract, Digest, read, write
from evaluator.errors import BusbenchError, Code
from evaluator.files import canonical_json, disk_errors, sha256_bytes, sha256_file
from evaluator.progress import Progress
from harness.challenge import Challenge
from harness.evaluation.evaluate import EvaluateSettings
from harness.execution.gpus import a_gpu, installed_gpus, usable_gpus
from harness.sandbox import Runner, open_runner
from harness.sandbox.stage import StageName


@dataclass(frozen=True)
class ExecutionEnvironment:
    """How stages are run, on whichever machine the job comes to."""

    runner: Literal["docker", "process"]
    challenge: Challenge
    train_gpu: bool = False
    evaluate: EvaluateSettings = field(default_factory=EvaluateSettings)

    @property
    def uses_gpu(self) -> bool:
        """Whether any job of it needs a GPU."""
        return self.train_gpu or self.evaluate.device != "cpu"

    @contextmanager
    def open_runner(self, progress: Progress, *, gpu: bool = False) -> Iterator[Runner]:
        """The runner of this machine, with a GPU of its own where one is needed.

        Raises:
            BusbenchError: `engine-unavailable` where no engine answers.
        """
        with a_gpu(usable_gpus(os.environ, installed_gpus()) if gpu else ()) as device:
            yield open_runner(self.runner, self.challenge, progress, device)


class JobResult(Contract):
    """A job's result file; its presence, with digests that hold, means done."""

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
        """`train` or `evaluate`: jobs of one kind take about as long."""

    @property
    def label(self) -> str:
        """What people call it: `train unext on busbra, fold 0`."""

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
        """The stage that it was in when whoever did it died, where a participant's work runs
        without a container; else None."""

    def run(self, progress: Progress) -> None:
        """Do it and write the result file last.

        Raises:
            BusbenchError: of whoever is to blame.
        """


def key_of(**decides: Any) -> Digest:
    """The key of a job whose result depends on these values."""
    return sha256_bytes(canonical_json(decides))


def is_done(job: Job) -> bool:
    """Whether the job's result is there and holds.

    Raises:
        BusbenchError: `output-exists` where another job's result stands in its place.
    """
    if not job.result.exists():
        return False
    remedy = "Remove it, and run the same command again."
    found = read(JobResult, job.result, Code.OUTPUT_EXISTS, remedy)
    if found.job != job.key:
        raise BusbenchError(
            Code.OUTPUT_EXISTS,
            f"{job.result.parent} holds the result of another recipe or bundle.",
            "Name another folder with --out, or remove this one.",
        )
    return all(
        (path := job.result.parent / name).is_file() and sha256_file(path) == digest
        for name, digest in found.files.items()
    )


def run_once(job: Job, progress: Progress) -> None:
    """Do a job unless it is done; whoever holds it meanwhile is waited for.

    Raises:
        BusbenchError: see `Job.run` and `is_done`.
    """
    with held(job.result.with_name(f"{job.result.name}.lock")):
        if not is_done(job):
            job.run(progress)


def write_result(job: Job, files: dict[str, Path], *, given: bool = False) -> None:
    """State that a job is done, by the digests of what it made."""
    digests = {name: sha256_file(path) for name, path in files.items()}
    write(JobResult(job=job.key, files=digests, given=given), job.result)


@contextmanager
def held(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock file; a process that dies, however it dies, lets go of it.

    Args:
        wait: whether to wait for who holds it now.

    Raises:
        BusbenchError: `output-exists` where somebody holds it, and it was not to be waited for.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("a")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            message = f"Another run is at work in {path.parent}."
            raise BusbenchError(Code.OUTPUT_EXISTS, message, "Wait for it, or stop it.") from error
        yield
