"""A process that opens a hostile file: started, watched and, if need be, killed.

The process puts CPU, memory and file limits on itself; the wall clock is kept here. It gets a bare
environment, an empty working folder and pipes no wider than a report.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
MAX_REPORT_BYTES = 1 << 20
# Nothing of ours is passed on: neither keys nor paths. Few arenas keep the address space small.
_ENVIRONMENT = {
    "PYTHONPATH": str(_ROOT),
    "PYTHONDONTWRITEBYTECODE": "1",
    "MALLOC_ARENA_MAX": "2",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "TMPDIR": ".",
}
# What the process reports to be doing; before and at the second, no model has been touched.
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


def run_contained(
    task: str, options: dict[str, str], seconds: float, *, data: bytes = b""
) -> Outcome:
    """Run one task of `evaluator.gate.probe` to whatever end.

    Args:
        options: its command-line options, without dashes.
        seconds: wall clock, after which the process and its children are killed.
        data: what it reads on standard input.
    """
    words = [f"--{name}={value}" for name, value in options.items()]
    with (
        tempfile.TemporaryFile() as report,
        tempfile.TemporaryFile() as errors,
        tempfile.TemporaryDirectory(prefix="busbench-gate-") as folder,
    ):
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "evaluator.gate.probe", task, *words],
            stdin=subprocess.PIPE,
            stdout=report,
            stderr=errors,
            cwd=folder,
            env=_ENVIRONMENT,
            start_new_session=True,
        )
        timed_out = False
        try:
            process.communicate(data, timeout=seconds)
        except subprocess.TimeoutExpired:
            timed_out = True
        finally:
            _kill(process)
        stage, said = _read_report(_tail(report.fileno(), 0))
        trouble = _tail(errors.fileno(), -2000).strip()
        return Outcome(stage, said, process.returncode, timed_out, trouble)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End the process and all it started; the group may outlive its leader."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _tail(descriptor: int, start: int) -> str:
    """Text of a file from `start`, counted from the end where negative; at most a report's size."""
    size = os.fstat(descriptor).st_size
    offset = max(0, size + start) if start < 0 else start
    return os.pread(descriptor, MAX_REPORT_BYTES, offset).decode("utf-8", "replace")


def _read_report(text: str) -> tuple[str, dict[str, str]]:
    stage, said = STARTING, {}
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "stage":
            stage = rest
        elif word in ("refused", "failed", "done"):
            said[word] = rest
    return stage, said
