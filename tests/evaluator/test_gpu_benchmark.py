"""The measurements on a GPU, run where there is none: `tests/gpu` has what needs one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pytest

from benchmarks.gpu_checks import run
from benchmarks.workers import Worker
from tests.support import ROOT, is_alive
from tests.support.gpu_preparation import Networks

Result = TypeVar("Result")

WORK = """
import os, subprocess, sys, time
from benchmarks.workers import Jobs
jobs = Jobs()
print("this is no answer")
for job in jobs:
    if job == "hang":
        helper = subprocess.Popen(["sleep", "60"])
        print(helper.pid, file=open(sys.argv[1] + "-helper", "w"), flush=True)
        helper.wait()
    if job == "crash":
        os._exit(7)
    if job == "device":
        jobs.wait_for_device()
        jobs.wait_for_device()
    print(os.getpid(), file=open(sys.argv[1], "a"), flush=True)
"""


def apart(work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`, in a thread of its own: this one's loop may be the browser's."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def benchmark(out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`python -m benchmarks.gpu` on the CPU, as small as it gets."""
    small = ("--seconds", "0.1", "--batch", "2", "--cases", "8", "--budget", "400", "--compiled")
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *words, *small, "--out", str(out)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_network_that_fails_never_costs_another_its_line(tmp_path: Path) -> None:
    # 48 pixels are no multiple of UNeXt's 32
    done = benchmark(
        tmp_path, *("--device", "cpu", "--size", "48", "--networks", "unext", "cmunext_s")
    )
    assert done.returncode == 0, done.stderr
    lines = map(json.loads, (tmp_path / "gpu.jsonl").read_text().splitlines())
    found = {(line["network"], line["what"]): line["value"] for line in lines}
    whats = ("ours", "eager", "stage", "stage / ours", "latency")
    assert found.keys() == {("cmunext_s", what) for what in whats} and min(found.values()) > 0
    failed, measured = done.stdout.splitlines()[-2:]
    assert failed.startswith("| unext | – |") and measured.startswith("| cmunext_s | ")
    assert measured.count("–") < failed.count("–")
    assert (tmp_path / "gpu.md").read_text().rstrip() == done.stdout.rstrip()


def test_a_machine_without_a_gpu_is_not_measured_as_one(tmp_path: Path) -> None:
    done = benchmark(tmp_path / "out")
    assert (done.returncode, done.stdout) == (1, "")
    assert "No CUDA device works here" in done.stderr and not (tmp_path / "out").exists()


def test_a_test_never_waits_for_a_network_that_failed(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("CUDA out of memory")
    (tmp_path / "unet-fp16.failed").write_text("stopped after 60 s")
    with pytest.raises(AssertionError, match=r"unet-fp16.npy: stopped after 60 s; .*\nCUDA out"):
        Networks(tmp_path).maps("unet", "fp16")
    (tmp_path / "ended").touch()
    with pytest.raises(AssertionError, match=r"unext.onnx: nothing was left of it"):
        Networks(tmp_path).onnx("unext")


def test_a_check_whose_time_is_up_never_hides_what_it_had(tmp_path: Path) -> None:
    words = "import time; print('so far', flush=True); time.sleep(60)"
    status = apart(run([sys.executable, "-c", words], 0.5, tmp_path / "log"))
    assert status == -signal.SIGINT
    assert (tmp_path / "log").read_text().startswith("so far\nTraceback")


def with_worker(pids: Path, use: Callable[[Worker, asyncio.Lock], Awaitable[None]]) -> list[str]:
    """Use a worker that keeps the id of the process that did each job; give these."""

    async def run() -> None:
        device = asyncio.Lock()
        words = [sys.executable, "-c", WORK, str(pids)]
        worker = Worker(words, device, {"PYTHONPATH": str(ROOT)})
        try:
            await use(worker, device)
        finally:
            await worker.stop()

    apart(run())
    return pids.read_text().split()


def test_a_job_that_hangs_or_crashes_never_takes_another_with_it(tmp_path: Path) -> None:
    async def use(worker: Worker, device: asyncio.Lock) -> None:
        assert [await worker.do(job, 60) for job in ("a", "b")] == [None, None]
        assert await worker.do("hang", 1) == "stopped after 1 s"
        assert await worker.do("c", 60) is None
        assert await worker.do("crash", 60) == "failed with status 7"
        assert await worker.do("d", 60) is None

    first, same, *others = with_worker(tmp_path / "pids", use)
    assert first == same and len({first, *others}) == 3
    assert not is_alive(int((tmp_path / "pids-helper").read_text()))


def test_no_job_uses_a_device_that_another_has(tmp_path: Path) -> None:
    async def use(worker: Worker, device: asyncio.Lock) -> None:
        async with device:
            assert await worker.do("device", 1) == "stopped after 1 s"
            job = asyncio.create_task(worker.do("device", 60))
            await asyncio.wait([job], timeout=0.5)
            assert not job.done()
        assert await job is None and not device.locked()

    assert len(with_worker(tmp_path / "pids", use)) == 1
