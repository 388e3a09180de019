"""A model that takes over the process which loads it still can't write what the gate says of it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from evaluator.gate.confinement import landlock_version
from tests.support import ROOT

pytestmark = pytest.mark.skipif(landlock_version() < 6, reason="needs Linux 6.12 with Landlock")

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


def test_the_tricks_work_where_nothing_confines(tmp_path: Path) -> None:
    """Else the test above would forbid nothing."""
    target = tmp_path / "out" / "gate.json"
    target.parent.mkdir()
    target.write_text("refused")
    assert attempt(TRICKS["replace"], target, 0, confined=False) == "done"
    assert target.read_text() == "passed"


def test_no_runtime_that_is_taken_over_writes_the_verdict(tmp_path: Path) -> None:
    """The process of the first load itself, with a runtime that does the model's bidding."""
    target = tmp_path / "out" / "gate.json"
    target.parent.mkdir()
    code = textwrap.dedent(
        f"""
        from pathlib import Path
        from evaluator.gate import probe
        def taken_over(*_, **__):
            Path("own").write_text("its own folder is its own")
            Path({str(target)!r}).write_text("passed")
        probe.onnxruntime.InferenceSession = taken_over
        probe.main()
        """
    )
    own = tmp_path / "own"
    own.mkdir()
    options = {
        "seconds": "20",
        "bytes": str(4 << 30),
        "folder": str(own),
        "model": "m",
        "threads": "1",
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    ended = subprocess.run(
        [sys.executable, "-c", code, "load", *words],
        cwd=own,
        env={"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "failed PermissionError" in ended.stdout
    assert (own / "own").exists()
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
