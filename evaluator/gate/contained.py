"""Processes that open hostile files: asked for, watched and, if need be, killed.

One process of ours imports what it takes to load a model and then touches none: for each task it
forks another (`evaluator.gate.forking`), so that imports are paid once for all models. It has a
bare environment, an empty working folder and pipes no wider than a report.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from evaluator.documents.base import Contract
from evaluator.documents.input_spec import InputSpec, Size
from evaluator.documents.submission import OutputSpec

_ROOT = Path(__file__).resolve().parents[2]
MAX_REPORT_BYTES = 1 << 20
_SHOWN = 2000  # bytes of what a process writes to its standard error
# Nothing of ours is passed on: neither keys nor paths. Few arenas keep the address space small.
_ENVIRONMENT = {
    "PYTHONPATH": str(_ROOT),
    "PYTHONDONTWRITEBYTECODE": "1",
    "MALLOC_ARENA_MAX": "2",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "TMPDIR": ".",
}
# What a process reports to be doing; before and at the second, no model has been touched.
STARTING, STARTED = "while it was started", "while it got ready"
SHAPING, LOADING = "while its shapes were inferred", "while it was loaded"


@dataclass(frozen=True)
class Outcome:
    """How a contained process ended, by its own report and the system's."""

    stage: str  # the last one it reported
    said: dict[str, str]  # refused, failed, done -> text
    status: int  # exit status; minus the signal's number where one ended it
    timed_out: bool
    errors: str  # the end of its standard error


class Load(Contract):
    """What it takes to load a model as inference will, and to run it."""

    folder: str  # of the model's file, absolute
    model: str
    threads: int
    input: InputSpec
    sizes: tuple[Size, ...]  # (height, width) each; batches are of the first
    bent: bool  # whether something bends its values after the last layer
    output: OutputSpec


class Task(Contract):
    """What one contained process does, and the most that it may take."""

    cpu_seconds: float
    seconds: float  # wall clock, after which the process and its children are killed
    address_space: int  # bytes
    load: Load | None = None  # None: the cost of the model that follows
    model_bytes: int = 0  # of that model


class Opener:
    """Runs tasks one after the other, each in a process of its own; `open_opener` makes one."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self._process, self._errors = process, errors

    def run(self, task: Task, model: bytes = b"") -> Outcome:
        """Run one task to whatever end.

        Args:
            model: whose cost is asked for.
        """
        assert self._process.stdin is not None and self._process.stdout is not None  # pipes
        line = task.model_copy(update={"model_bytes": len(model)}).model_dump_json().encode()
        reply = b""
        with suppress(BrokenPipeError):
            self._process.stdin.write(line + b"\n" + model)
            self._process.stdin.flush()
            reply = self._process.stdout.readline()
        if not reply:  # it is gone
            status = self._process.wait()
            return Outcome(STARTING, {}, status, timed_out=False, errors=end_of(self._errors))
        return Outcome(**json.loads(reply))


@contextmanager
def open_opener() -> Iterator[Opener]:
    """Start the process that forks; it ends with its pipe, and so with the calling process."""
    with (
        tempfile.TemporaryFile() as errors,
        tempfile.TemporaryDirectory(prefix="busbench-gate-") as folder,
        subprocess.Popen(
            [sys.executable, "-P", "-m", "evaluator.gate.probe"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=folder,
            env=_ENVIRONMENT,
            start_new_session=True,
        ) as process,
    ):
        yield Opener(process, errors)


def beginning_of(file: IO[bytes]) -> str:
    """The text of a process's output, up to a report's size."""
    return os.pread(file.fileno(), MAX_REPORT_BYTES, 0).decode("utf-8", "replace")


def end_of(file: IO[bytes]) -> str:
    """The last text of a process's output."""
    start = max(0, os.fstat(file.fileno()).st_size - _SHOWN)
    return os.pread(file.fileno(), _SHOWN, start).decode("utf-8", "replace").strip()
