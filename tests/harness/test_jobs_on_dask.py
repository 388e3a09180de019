"""Jobs on a real Dask cluster of worker processes, some of which are killed while they work."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import ROOT, soon
from tests.support.cluster import begun, get_done, meanwhile
from tests.support.jobs import WriteWord, processes, runs

pytestmark = pytest.mark.slow

distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")


def test_no_job_is_lost_with_the_worker_that_was_killed_while_it_worked(tmp_path: Path) -> None:
    jobs = [WriteWord(f"word-{index}", tmp_path, seconds=2.0) for index in range(4)]
    killed: list[int] = []

    def another_works() -> bool:
        return begun(tmp_path, 1) and processes(tmp_path)[-1] not in killed

    def kill_two() -> None:
        for _ in range(2):
            soon(another_works)
            killed.append(processes(tmp_path)[-1])
            os.kill(killed[-1], signal.SIGKILL)

    with meanwhile(kill_two):
        state = get_done("local:2", jobs)
    assert len(set(killed)) == 2 and os.getpid() not in processes(tmp_path)
    assert not state.failed and state.left.total() == 0
    assert all((tmp_path / job.word).read_text() == job.word for job in jobs)
    assert len(runs(tmp_path)) == len(jobs) + 2  # what was killed ran again, nothing else did
    again = get_done("local:1", jobs)
    assert all(end.kept for end in again.finished) and len(runs(tmp_path)) == len(jobs) + 2


def test_a_job_that_kills_its_workers_is_set_aside_and_takes_no_innocent_with_it(
    tmp_path: Path,
) -> None:
    jobs = [WriteWord("guilty", tmp_path, kills=9, stage="infer"), WriteWord("innocent", tmp_path)]
    state = get_done("local:1", jobs)
    found = {end.job.label: end.error and end.error.code for end in state.finished}
    assert found == {"write guilty": "model-failed", "write innocent": None}
    assert runs(tmp_path).count("guilty") == 3 and runs(tmp_path).count("innocent") == 1


def test_a_gpu_slot_never_holds_two_jobs_and_no_slot_is_said_so(tmp_path: Path) -> None:
    jobs = [WriteWord(f"gpu-{index}", tmp_path, seconds=0.1, gpu=True) for index in range(3)]
    refused = get_done("local:1", jobs[:1])
    assert [end.error and end.error.code for end in refused.failed] == ["device-unavailable"]
    assert not get_done("local:1", jobs, gpu=True).failed


@pytest.mark.parametrize("gpu", [False, True])
def test_no_job_waits_at_a_busy_worker_while_another_idles(*, gpu: bool, tmp_path: Path) -> None:
    """However long jobs take, and where only some workers have what they need.

    Dask moves jobs that it has to a worker that ends one first, and may leave all of them there.
    """
    jobs = [WriteWord(f"word-{n}", tmp_path, seconds=2.0 + n % 2 / 2, gpu=gpu) for n in range(6)]
    offers = [{"GPU": 1}, {"GPU": 1}, {}]
    workers = {
        n: {"cls": distributed.Worker, "options": {"nthreads": 1, "resources": offer}}
        for n, offer in enumerate(offers)
    }
    scheduler = {"cls": distributed.Scheduler, "options": {"dashboard_address": ":0"}}
    with (
        distributed.SpecCluster(workers, scheduler) as cluster,
        distributed.Client(cluster) as client,
    ):
        given: list[int] = []

        def watch() -> None:
            while len(list(tmp_path.glob("*.json"))) < len(jobs):
                given.extend(map(len, client.processing().values()))
                time.sleep(0.05)

        with meanwhile(watch):
            state = get_done(cluster.scheduler_address, jobs)
    assert not state.failed and max(given) == 1


def dask(*words: str) -> subprocess.Popen[bytes]:
    """A scheduler or a worker, as an operator starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_a_scheduler_that_is_started_anew_gets_what_is_not_done_yet(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    address = f"tcp://127.0.0.1:{port}"
    start = ("distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", port, "--no-show")
    schedulers = [dask(*start, "--no-dashboard")]
    worker = dask("distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard")
    others = [worker]
    jobs = [WriteWord(f"word-{index}", tmp_path, seconds=1.0) for index in range(4)]

    def restart() -> None:
        soon(lambda: begun(tmp_path, 2))
        schedulers[0].kill()
        schedulers[0].wait()
        schedulers.append(dask(*start, "--no-dashboard"))
        others.append(dask("distributed.cli.dask_worker", address, "--nthreads", "1"))

    try:
        with meanwhile(restart):
            state = get_done(address, jobs)
    finally:
        for process in (*others, *schedulers):
            process.terminate()
        for process in (*others, *schedulers):
            process.wait()
    assert not state.failed and len(schedulers) == 2
    assert all((tmp_path / job.word).read_text() == job.word for job in jobs)
    assert runs(tmp_path).count("word-0") == 1  # done before the scheduler died
