"""The command line, a small sealed track, recipes of a few steps, and jobs that write a word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from evaluator.errors import BusbenchError, Code
from evaluator.progress import Progress, quiet
from harness.audit import audit
from harness.datasets import phantom
from harness.execution.inputs import Input
from harness.execution.job import ExecutionEnvironment, Job, key_of, write_result
from harness.prepare import prepare
from harness.sandbox.cached import Context
from harness.sandbox.process_runner import ProcessRunner
from harness.sandbox.stage import StageName
from harness.sealing.bundle import Bundles, Recipients, seal
from harness.sealing.keys import Keys
from harness.splits import freeze, make_secret
from tests.support import ROOT

SETTINGS = "input: {height: 32, width: 32}\nbatch: 4\ncheckpoint_seconds: 0\n"


@dataclass(frozen=True)
class SealedTrack:
    """A sealed track of generated phantoms, and the keys that open it."""

    bundles: Bundles
    keys: Keys


def seal_phantoms(folder: Path, *, patients: int = 10, folds: int = 2) -> SealedTrack:
    """Generate, freeze and seal a few phantoms."""
    phantom.generate(folder / "raw", patients, 42, progress=quiet)
    store = prepare("phantom", folder / "raw", folder / "store").store
    secret = make_secret(folder / "secret")
    split = freeze(store, audit(store), folder / "split", version="v1", folds=folds, secret=secret)
    keys = Keys.new(folder / "keys")
    recipients = Recipients(keys.images.recipient, keys.labels.recipient)
    return SealedTrack(seal(store, split, recipients, out=folder / "bundles"), keys)


def write_recipe(path: Path, steps: int, network: str = "unext") -> Path:
    """A recipe that trains for a few steps at 32 pixels."""
    path.write_text(f"network: {network}\nsteps: {steps}\nvalidate_every: {steps // 2}\n{SETTINGS}")
    return path


def command(*words: str | Path) -> list[str]:
    """`busbench` as a command of its own."""
    return [sys.executable, "-m", "harness", *map(str, words)]


def run(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `busbench` to its end."""
    return subprocess.run(
        command(*words),
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@dataclass(frozen=True)
class Given(ExecutionEnvironment):
    """An execution environment with a runner of the test's."""

    given: ProcessRunner = field(default_factory=ProcessRunner)

    @contextmanager
    def open(self, progress: Progress, *, gpu: bool = False) -> Iterator[Context]:
        with super().open(progress, gpu=gpu) as context:
            yield replace(context, runner=self.given)


@dataclass(frozen=True)
class WriteWord:
    """A job that writes a word, or fails by the code it is given, or takes its worker with it.

    Args:
        seconds: how long it takes.
        kills: how often it ends the process it runs in.
        stage: what it says it was doing then.
    """

    word: str
    folder: Path
    code: Code | None = None
    seconds: float = 0.0
    kills: int = 0
    stage: StageName | None = None
    gpu: bool = False
    kind = "write"

    @property
    def label(self) -> str:
        return f"write {self.word}"

    @property
    def key(self) -> str:
        return key_of(word=self.word)

    @property
    def result(self) -> Path:
        return self.folder / f"{self.word}.json"

    def run(self, progress: Progress) -> None:
        with (self.folder / "runs").open("a") as handle:
            handle.write(f"{self.word} {os.getpid()}\n")
        if runs(self.folder).count(self.word) <= self.kills:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.code:
            raise BusbenchError(self.code, "It failed.", "Repair it.")
        time.sleep(self.seconds)
        (self.folder / self.word).write_text(self.word)
        write_result(self, {self.word: self.folder / self.word})


@dataclass(frozen=True)
class ReadWord(WriteWord):
    """A job that writes the word that it reads from its input."""

    input: Input | None = None

    def run(self, progress: Progress) -> None:
        assert self.input is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "runs").open("a") as handle:
            handle.write(f"{self.word} {os.getpid()}\n")
        (self.folder / self.word).write_text((self.input.here() / "word").read_text())
        write_result(self, {self.word: self.folder / self.word})


def runs(folder: Path) -> list[str]:
    """The words of all runs that were begun, in their order."""
    return [line.split()[0] for line in (folder / "runs").read_text().splitlines()]


def processes(folder: Path) -> list[int]:
    """The processes in which runs were begun, in their order."""
    return [int(line.split()[1]) for line in (folder / "runs").read_text().splitlines()]


@dataclass
class Heard:
    """A recorder that keeps what it hears, and may refuse a word."""

    refuses: str = ""
    ended: list[str] = field(default_factory=list)

    def received(self, jobs: Sequence[Job]) -> None:
        assert not self.ended

    def start(self, job: Job) -> None:
        assert isinstance(job, WriteWord)
        if job.word == self.refuses:
            raise BusbenchError(Code.QUOTA_EXCEEDED, "No more.", "Wait.")

    def done(self, job: Job) -> None:
        assert isinstance(job, WriteWord)
        self.ended.append(job.word)

    def failed(self, job: Job, error: BusbenchError) -> None:
        assert isinstance(job, WriteWord)
        self.ended.append(f"{job.word}: {error.code}")
