"""Jobs on a real Slurm, in workers that sbatch starts; one is cancelled while it works."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support import ROOT, soon
from tests.support.cluster import begun, get_done, meanwhile
from tests.support.jobs import WriteWord, processes, runs

pytest.importorskip("dask_jobqueue", reason="the extra `cluster` is not installed")

STARTER = ROOT.parent / "shared" / "tools" / "slurm"


@pytest.fixture(scope="module")
def slurm() -> None:
    """A Slurm that takes jobs. Where CI has a starter for one it is started; else tests skip."""
    if os.environ.get("CI") and os.access(STARTER, os.X_OK):
        subprocess.run([STARTER, "up"], check=True, stdout=subprocess.DEVNULL)
    if shutil.which("sinfo") is None or subprocess.run(["sinfo"], check=False).returncode:
        pytest.skip("no Slurm answers here (`../shared/tools/slurm up` starts one)")


def batch_jobs() -> list[str]:
    """The running batch jobs of Dask's workers."""
    asked = ["squeue", "--noheader", "--name", "dask-worker", "--states", "RUNNING", "-o", "%i"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.split()


def test_no_job_is_lost_with_the_batch_job_that_was_cancelled(
    slurm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # sbatch passes it to the workers
    monkeypatch.chdir(tmp_path)
    jobs = [WriteWord(f"word-{index}", tmp_path, seconds=3.0) for index in range(3)]
    cancelled: list[str] = []

    def cancel_one() -> None:
        soon(lambda: begun(tmp_path, 1))
        cancelled.extend(batch_jobs())
        subprocess.run(["scancel", *cancelled], check=True)

    with meanwhile(cancel_one):
        state = get_done("slurm:1", jobs)
    assert len(cancelled) == 1
    assert not state.failed
    assert all((tmp_path / job.word).read_text() == job.word for job in jobs)
    assert len(runs(tmp_path)) in (3, 4)  # a worker that is asked to stop may end what it has
    assert len(set(processes(tmp_path))) == 2  # the worker that was cancelled, and its successor
    soon(lambda: not batch_jobs())  # nothing is left in the queue
