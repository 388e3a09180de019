"""A model that takes over the process which loads it still can't write what the gate says of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from evaluator.documents.input_spec import InputSpec
from evaluator.documents.submission import OutputSpec
from evaluator.gate.confinement import landlock_version
from evaluator.gate.contained import LOADING, SHAPING, Load, Task, open_opener
from tests.support import ROOT, soon

confined = pytest.mark.skipif(landlock_version() < 6, reason="needs Linux 6.12 with Landlock")

# What a hostile model may try, in a process whose parent writes the verdict to `target`.
TRICKS = {
    "write": "open(target, 'w').write('passed')",
    "append": "open(target, 'a').write('passed')",
    "truncate": "os.truncate(target, 0)",
    "remove": "os.remove(target)",
    "replace": "open('own', 'w').write('passed'); os.replace('own', target)",
    "link": "open('own', 'w').write('passed'); os.link('own', target + '.2')",
    "symlink": "os.symlink('own', target + '.2')",
    "folder": "os.mkdir(target + '.2')",
    "pipe": "os.mkfifo(target + '.2')",
    "parent's memory": "open(f'/proc/{os.getppid()}/mem', 'r+b')",
    "parent's files": "open(f'/proc/{os.getppid()}/fd/{int(sys.argv[2])}', 'w').write('passed')",
    "signal": "os.kill(os.getppid(), signal.SIGCONT)",
    "trace": (
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "if libc.ptrace(16, os.getppid(), 0, 0): raise OSError(ctypes.get_errno(), 'ptrace')"
    ),
    "run": "os.execv('/bin/sh', ['sh', '-c', f'echo passed > {target}'])",
    "child": "subprocess.run(['/bin/sh', '-c', f'echo passed > {target}'], check=True)",
    "fork": (
        "os.fork() or open(target, 'w').write('passed')\nif os.wait()[1]: raise PermissionError"
    ),
}


def load(folder: Path, model: str) -> Load:
    """What it takes to load a file as a model."""
    return Load(
        folder=str(folder),
        model=model,
        threads=1,
        input=InputSpec(height=32, width=32, resize="letterbox"),
        sizes=((32, 32),),
        bent=False,
        output=OutputSpec(),
    )


def attempt(trick: str, target: Path, descriptor: int, *, confined: bool) -> str:
    code = textwrap.dedent(
        """
        import ctypes, os, signal, subprocess, sys
        from pathlib import Path
        from evaluator.gate.confinement import confine
        target = sys.argv[1]
        if {confined}:
            assert confine(Path.cwd())
        try:
            {trick}
        except OSError as error:
            print(type(error).__name__)
        else:
            print("done")
        """
    ).format(trick=trick.replace("\n", "\n    "), confined=confined)
    folder = target.parent.parent / "own"
    folder.mkdir()
    words = [sys.executable, "-c", code, str(target), str(descriptor)]
    ended = subprocess.run(
        words,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.stdout.strip()


@confined
@pytest.mark.parametrize("trick", TRICKS)
def test_no_confined_process_changes_the_verdict(trick: str, tmp_path: Path) -> None:
    target = tmp_path / "out" / "gate.json"
    target.parent.mkdir()
    target.write_text("refused")
    with target.open("r+") as handle:
        said = attempt(TRICKS[trick], target, handle.fileno(), confined=True)
    assert "done" not in said.splitlines() or trick == "fork"
    assert "Error" in said
    assert target.read_text() == "refused"
    assert list(target.parent.iterdir()) == [target]


@confined
def test_the_tricks_work_where_nothing_confines(tmp_path: Path) -> None:
    """Else the test above would forbid nothing."""
    target = tmp_path / "out" / "gate.json"
    target.parent.mkdir()
    target.write_text("refused")
    assert attempt(TRICKS["replace"], target, 0, confined=False) == "done"
    assert target.read_text() == "passed"


@confined
def test_no_runtime_that_is_taken_over_writes_the_verdict(tmp_path: Path) -> None:
    """The process of the first load itself, with a runtime that does the model's bidding."""
    target = tmp_path / "out" / "gate.json"
    target.parent.mkdir()
    code = textwrap.dedent(
        f"""
        from pathlib import Path
        from evaluator.gate import forking, probe
        def taken_over(*_, **__):
            Path("own").write_text("its own folder is its own")
            Path({str(target)!r}).write_text("passed")
        probe.onnxruntime.InferenceSession = taken_over
        forking.serve(probe.do)
        """
    )
    task = Task(cpu_seconds=20, seconds=200, address_space=4 << 30, load=load(Path(), "m"))
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as gate:
        assert gate.stdin is not None and gate.stdout is not None
        print(task.model_dump_json(), file=gate.stdin, flush=True)
        said = json.loads(gate.stdout.readline())["said"]
    assert said["failed"].startswith("PermissionError") and str(target) in said["failed"]
    assert not target.exists()


def test_no_thread_is_older_than_the_confinement() -> None:
    """Landlock binds the thread that asks for it and those that it starts, no older one."""
    code = "import os; import evaluator.gate.probe; print(len(os.listdir('/proc/self/task')))"
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.strip() == "1"


@pytest.fixture
def stuck(tmp_path: Path) -> Load:
    """A model that never ends to load: nobody writes to its pipe."""
    os.mkfifo(tmp_path / "model.onnx")
    return load(tmp_path, "model.onnx")


def test_no_model_that_hangs_or_dies_takes_the_next_with_it(stuck: Load) -> None:
    with open_opener() as opener:
        hanging = Task(cpu_seconds=20, seconds=1, address_space=4 << 30, load=stuck)
        hung = opener.run(hanging)
        starved = opener.run(hanging.model_copy(update={"address_space": 1 << 20}))
        unknown = opener.run(Task(cpu_seconds=20, seconds=60, address_space=4 << 30), b"no model")
    assert (hung.stage, hung.timed_out, hung.status) == (LOADING, True, -signal.SIGKILL)
    assert starved.said.get("done") is None and starved.status
    assert (unknown.stage, unknown.timed_out, unknown.status) == (SHAPING, False, 1)
    assert unknown.said["failed"].startswith("DecodeError")


def test_no_killed_gate_leaves_a_process_with_a_model(stuck: Load) -> None:
    task = Task(cpu_seconds=20, seconds=600, address_space=4 << 30, load=stuck)
    code = textwrap.dedent(
        f"""
        from evaluator.gate.contained import Task, open_opener
        with open_opener() as opener:
            print(opener._process.pid, flush=True)
            opener.run(Task.model_validate_json({task.model_dump_json()!r}))
        """
    )
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as gate:
        assert gate.stdout is not None
        forking = int(gate.stdout.readline())
        forked = soon(lambda: children_of(forking), seconds=60)
        gate.kill()
    left = [Path(f"/proc/{pid}") for pid in (forking, *forked)]
    soon(lambda: not any(path.exists() for path in left), seconds=60)


def children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
