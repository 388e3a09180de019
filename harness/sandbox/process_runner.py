"""Stages as plain processes of this machine: for development, without any isolation."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import harness
from evaluator.documents.reading import MEBIBYTE
from evaluator.errors import BusbenchError, Code
from evaluator.progress import Progress
from evaluator.waiting import GO
from harness.challenge import Component
from harness.sandbox.failure import explain
from harness.sandbox.log import LOG_MB, LogReader, write_log
from harness.sandbox.stage import Outcome, RunnerName, Stage, read_error

ROOT = Path(__file__).resolve().parents[2]
MODULES: dict[Component, str] = {
    "participant": "reference_models",
    "infer": "evaluator",
    "infer-gpu": "evaluator",
    "triton": "evaluator",
    "score": "evaluator",
}
# Of the extra `evaluator`, where a container has it in its image.
NEEDED: dict[Component, tuple[str, ...]] = {
    "infer": ("numba", "onnx", "onnxruntime"),
    "score": ("numba",),
}


class ProcessRunner:
    """Runs each stage as `python -m <component>`; reports say so."""

    name: RunnerName = "process"

    def __init__(self, gpu_device: str | None = None) -> None:
        self._gpu = {} if gpu_device is None else {"CUDA_VISIBLE_DEVICES": gpu_device}
        self._waiting: dict[tuple[str, ...], subprocess.Popen[bytes]] = {}  # by their commands

    def identify(self, component: Component) -> str:
        """The process and its version."""
        return f"process {MODULES[component]} {harness.__version__}"

    def identify_base(self) -> str:
        """See `Runner`."""
        return f"python {platform.python_version()}"

    def environment(self, stage: Stage) -> dict[str, str]:
        """The environment of a stage's process, with the GPU that it may see."""
        ours = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        return {**os.environ, **ours, **self._gpu, **stage.environment}

    def run(self, stage: Stage, progress: Progress) -> None:
        """Run a stage; only the time limit is kept. See `Runner`."""
        if stage.image is not None:
            raise BusbenchError(
                Code.ENGINE_UNAVAILABLE,
                "A participant's image runs in Docker only.",
                "Start a Docker engine and use --runner docker.",
            )
        for package in NEEDED.get(stage.component, ()):
            if importlib.util.find_spec(package) is None:
                says = f"The {stage.name} stage needs {package}, which is not installed."
                remedy = "Install BUSBench with its extra `evaluator`."
                raise BusbenchError(Code.EXTRA_MISSING, says, remedy, stage=stage.name)
        process = self._begin(stage)
        timed_out = threading.Event()
        timer = threading.Timer(stage.seconds_left, _stop, (process, timed_out))
        timer.start()
        log = _Kept(progress)
        try:
            log.follow(log.keep(process))
            code = process.wait()
        finally:
            timer.cancel()
            _kill_tree(process)
        if stage.log is not None:
            write_log(stage.log, bytes(log.kept))
        outcome = Outcome(
            exit_code=code,
            timed_out=timed_out.is_set(),
            tail=log.tail,
            error=read_error(stage.output),
        )
        if outcome.failed:
            raise explain(stage, outcome)

    def _begin(self, stage: Stage) -> subprocess.Popen[bytes]:
        """The process of a stage, which works: one that waited for it, or a new one."""
        words = _words(stage)
        process = self._waiting.pop(words, None)
        said = b"" if stage.secret is None else stage.secret().encode()
        if process is not None and process.poll() is None:
            said = GO.encode() + said
        else:  # none was started ahead, or it died of what only the stage itself can tell
            process = start(words, self.environment(stage), reads=stage.secret is not None)
        if process.stdin is not None:
            with suppress(BrokenPipeError), process.stdin as pipe:  # it may have ended already
                pipe.write(said)
        return process

    @contextmanager
    def ahead(self, stages: Iterable[Stage]) -> Iterator[None]:
        """Start the processes of stages, which import and wait; see `Runner`."""
        try:
            for stage in stages:
                words = _words(stage)
                command = (*words[:2], "--wait", *words[2:])
                self._waiting[words] = start(command, self.environment(stage), reads=True)
            yield
        finally:
            while self._waiting:
                _, process = self._waiting.popitem()
                _kill_tree(process)
                process.wait()


def _words(stage: Stage) -> tuple[str, ...]:
    """A stage's module and its command."""
    inside = {name: str(path.resolve()) for name, path in stage.inputs.items()}
    return (
        MODULES[stage.component],
        *stage.words(inside | {"out": str(stage.output.resolve())}),
    )


def start(
    words: Sequence[str], environment: Mapping[str, str], *, reads: bool
) -> subprocess.Popen[bytes]:
    """Start a module as a process of a session of its own; one pipe has both of its outputs.

    Args:
        words: the module and its arguments.
        reads: whether it has a standard input.
    """
    return subprocess.Popen(
        [*die_with_parent(), sys.executable, "-m", *words],
        stdin=subprocess.PIPE if reads else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,  # a time-out takes the whole tree
    )


class _Kept(LogReader):
    """Reads a process's output and keeps the end of it."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(progress)
        self.kept = bytearray()

    def keep(self, process: subprocess.Popen[bytes]) -> Iterator[bytes]:
        """The chunks of its output as they come."""
        assert process.stdout is not None  # it is a pipe
        while chunk := os.read(process.stdout.fileno(), 65536):
            self.kept += chunk
            del self.kept[: -LOG_MB * MEBIBYTE]
            yield chunk


def die_with_parent() -> tuple[str, ...]:
    """What to put before a command so that the kernel ends it when its harness is killed.

    Else a resumed run and the stage of the killed one would write one folder. Empty where the
    system has no `setpriv`.
    """
    setpriv = shutil.which("setpriv")
    return (setpriv, "--pdeathsig", "KILL", "--") if setpriv else ()


def _stop(process: subprocess.Popen[bytes], timed_out: threading.Event) -> None:
    timed_out.set()
    _kill_tree(process)


def _kill_tree(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
