"""Forks of a process that has everything imported: one for each task, which may die of it.

The process here touches no model. It waits for each fork, keeps the wall clock, and ends with its
standard input: whoever asks may be killed, and leaves no process behind.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import IO

from evaluator.gate.contained import STARTING, Outcome, Task, beginning_of, end_of

_PAUSE = 0.005  # seconds
Do = Callable[[Task, bytes], None]  # given the bytes that follow the task


def serve(do: Do) -> None:
    """Do the tasks that standard input brings, and write how each ended to standard output."""
    asked, replies = sys.stdin.buffer, sys.stdout.buffer
    while line := asked.readline():
        task = Task.model_validate_json(line)
        outcome = _in_a_fork(do, task, asked.read(task.model_bytes))
        replies.write(json.dumps(asdict(outcome)).encode() + b"\n")
        replies.flush()


def _in_a_fork(do: Do, task: Task, data: bytes) -> Outcome:
    with (
        tempfile.TemporaryFile() as report,
        tempfile.TemporaryFile() as errors,
        tempfile.TemporaryDirectory() as folder,
    ):
        pid = os.fork()
        if pid == 0:
            _be_the_fork(partial(do, task, data), Path(folder), report, errors)
        in_time = _wait(pid, task.seconds)
        # the group may outlive its leader, whose number is its own until it is waited for
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        stage, said = _read_report(beginning_of(report))
        return Outcome(stage, said, status, not in_time, end_of(errors))


def _be_the_fork(do: Callable[[], None], folder: Path, *outputs: IO[bytes]) -> None:
    """Do the task and end, whatever happens: nothing here may go on as the process that forks.

    Args:
        folder: the working folder.
        outputs: what standard output and standard error are.
    """
    status = 1
    try:
        os.setsid()
        os.chdir(folder)
        for place, file in enumerate(outputs, start=1):
            os.dup2(file.fileno(), place)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        do()
        status = 0
    except BaseException as error:  # noqa: BLE001  the report is all that is left of it
        say("failed", f"{type(error).__name__}: {error}")
    finally:
        os._exit(status)


def say(word: str, text: str) -> None:
    """A line of the report: `stage WHAT`, `refused CODE DETAIL`, `failed WHY` or `done JSON`."""
    print(word, " ".join(text.split())[:400], flush=True)


def _wait(pid: int, seconds: float) -> bool:
    """Wait for a process to end; whether it did in time, before whoever asked was gone.

    It looks again and again: Linux before 5.3, as clusters have it, has no handle to wait for.
    """
    last = time.monotonic() + seconds
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        left = last - time.monotonic()
        if left <= 0 or select.select([sys.stdin], [], [], min(left, _PAUSE))[0]:
            return False
    return True


def _read_report(text: str) -> tuple[str, dict[str, str]]:
    stage, said = STARTING, {}
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "stage":
            stage = rest
        elif word in ("refused", "failed", "done"):
            said[word] = rest
    return stage, said
