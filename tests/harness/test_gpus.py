"""GPU slots of jobs: decisions and locks. No test here needs a GPU, and none has seen one."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from harness.challenge import Limits
from harness.execution.gpus import a_gpu, usable_gpus
from harness.sandbox import ProcessRunner, Stage
from harness.sandbox.profile import container_settings
from tests.support import ROOT

FOUR = ("0", "1", "2", "3")


@pytest.mark.parametrize(
    ("environment", "usable"),
    [
        ({}, FOUR),
        ({"CUDA_VISIBLE_DEVICES": "2"}, ("2",)),
        ({"CUDA_VISIBLE_DEVICES": "3, 1"}, ("3", "1")),
        ({"CUDA_VISIBLE_DEVICES": "GPU-8f3a,MIG-77"}, ("GPU-8f3a", "MIG-77")),
        ({"CUDA_VISIBLE_DEVICES": ""}, ()),
        ({"CUDA_VISIBLE_DEVICES": "0,-1,2"}, ("0",)),
    ],
)
def test_a_worker_never_uses_a_gpu_that_it_was_not_given(environment: Any, usable: Any) -> None:
    assert usable_gpus(environment, FOUR) == usable


def test_two_jobs_of_one_machine_never_hold_the_same_gpu(tmp_path: Path) -> None:
    together = Barrier(4)

    def job(_: int) -> str:
        with a_gpu(FOUR, tmp_path) as gpu:
            together.wait(timeout=600)  # until all four hold one
            assert gpu is not None
            return gpu

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(job, range(4))) == list(FOUR)


def test_a_gpu_is_free_again_when_who_held_it_was_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from harness.execution.gpus import a_gpu\n"
        "with a_gpu(('0',), Path(sys.argv[1])) as gpu: print(gpu, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    holder = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "0\n"
    with a_gpu(("0", "1"), tmp_path) as other:
        assert other == "1"
    holder.kill()
    holder.wait()
    with a_gpu(("0", "1"), tmp_path) as again:
        assert again == "0"


def stage(folder: Path, *, gpu: bool = True) -> Stage:
    return Stage("infer", "infer", ("infer",), {}, folder / "out", Limits(), gpu=gpu)


def test_a_container_gets_the_gpu_of_its_slot_and_no_other(tmp_path: Path) -> None:
    def asked(*, gpu: bool, device: str | None) -> list[dict[str, Any]]:
        settings = container_settings(
            stage(tmp_path, gpu=gpu), "image", "volume", gpu_device=device
        )
        return [dict(request) for request in settings["device_requests"]]

    (pinned,) = asked(gpu=True, device="GPU-8f3a")
    assert pinned["DeviceIDs"] == ["GPU-8f3a"] and pinned["Count"] == 0
    (first,) = asked(gpu=True, device=None)
    assert first["Count"] == 1 and not first["DeviceIDs"]
    assert asked(gpu=False, device="GPU-8f3a") == []


def test_a_process_sees_the_gpu_of_its_slot_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    stated = {device: ProcessRunner(device).environment(stage(tmp_path)) for device in ("2", None)}
    assert stated["2"]["CUDA_VISIBLE_DEVICES"] == "2"
    assert stated[None]["CUDA_VISIBLE_DEVICES"] == "0,1,2,3"
