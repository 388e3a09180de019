"""Usage of inference: what a device does not tell is absent, and limits are checked or refused."""

from __future__ import annotations

import os
import sys
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pynvml
import pytest
from pydantic import ValidationError

from evaluator.documents.inference import EfficiencyLimits
from evaluator.errors import BusbenchError
from evaluator.inference import usage
from evaluator.inference.backends import InferSettings, TritonOptions
from evaluator.inference.hardware import device_name
from evaluator.inference.usage import measured_usage
from tests.support.factories import RUNTIME
from tests.support.inference import blur, speckle, stage

MIB = 1 << 20
UUID = "00010203-0405-0607-0809-0a0b0c0d0e0f"
CUDA = InferSettings(device="cuda")
MEMORY, PROCESSES, ENERGY = (
    "nvmlDeviceGetMemoryInfo",
    "nvmlDeviceGetComputeRunningProcesses_v3",
    "nvmlDeviceGetTotalEnergyConsumption",
)


@dataclass
class Nvml:
    """NVML's functions as nvidia-ml-py calls them, on its own structures."""

    name: str = f"GPU-{UUID}"
    used: int = 900 * MIB
    processes: dict[int, int] = field(default_factory=dict)  # id -> bytes
    millijoules: int = 10_000
    answers: dict[str, int] = field(default_factory=dict)  # function -> error
    asked: threading.Event = field(default_factory=threading.Event)

    def nvmlInitWithFlags(self, _: int) -> int:  # noqa: N802
        return self.answers.get("nvmlInit", pynvml.NVML_SUCCESS)

    def nvmlShutdown(self) -> int:  # noqa: N802
        return pynvml.NVML_SUCCESS

    def nvmlDeviceGetHandleByUUID(self, name: Any, _: Any) -> int:  # noqa: N802
        found = name.value.decode() == self.name
        return pynvml.NVML_SUCCESS if found else pynvml.NVML_ERROR_NOT_FOUND

    def nvmlDeviceGetMemoryInfo(self, _: Any, memory: Any) -> int:  # noqa: N802
        memory._obj.used = self.used
        self.asked.set()
        return self.answers.get(MEMORY, pynvml.NVML_SUCCESS)

    def nvmlDeviceGetComputeRunningProcesses_v3(self, _: Any, count: Any, rows: Any) -> int:  # noqa: N802
        if self.processes and rows is None:
            count._obj.value = len(self.processes)
            return pynvml.NVML_ERROR_INSUFFICIENT_SIZE
        for row, (pid, taken) in zip(rows or (), self.processes.items(), strict=False):
            row.pid, row.usedGpuMemory = pid, taken
        count._obj.value = len(self.processes)
        return self.answers.get(PROCESSES, pynvml.NVML_SUCCESS)

    def nvmlDeviceGetTotalEnergyConsumption(self, _: Any, energy: Any) -> int:  # noqa: N802
        energy._obj.value = self.millijoules
        return self.answers.get(ENERGY, pynvml.NVML_SUCCESS)


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    made = Nvml()
    monkeypatch.setattr(pynvml, "nvmlLib", made)
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
    monkeypatch.setattr(usage, "gpu_uuids", lambda: (f"GPU-{UUID}", f"MIG-{UUID}"))
    return made


def test_gpu_memory_is_the_processes_own_where_the_device_lists_it(nvml: Nvml) -> None:
    with measured_usage(CUDA) as found:
        nvml.used = 5000 * MIB  # others take more, too
        nvml.processes = {os.getpid(): 300 * MIB, os.getppid(): 3000 * MIB}
        found.sample()
    assert found.fields()["gpu_memory_mb"] == 300
    assert found.fields()["gpu_memory_of"] == "process"


@pytest.mark.parametrize("processes", [{}, {os.getppid(): 77 * MIB}])
def test_gpu_memory_of_others_from_before_the_start_is_not_counted(
    nvml: Nvml, processes: dict[int, int]
) -> None:
    with measured_usage(CUDA) as found:
        nvml.used, nvml.processes = 1500 * MIB, processes
        found.sample()
        nvml.used = 1000 * MIB
    assert found.fields()["gpu_memory_mb"] == 600
    assert found.fields()["gpu_memory_of"] == "device"


def test_no_peak_between_two_measurements_is_missed(nvml: Nvml) -> None:
    with measured_usage(CUDA) as found:
        nvml.used = 2900 * MIB
        nvml.asked.clear()
        assert nvml.asked.wait(60)  # by the thread alone
        nvml.used = 900 * MIB
    assert found.fields()["gpu_memory_mb"] == 2000


def test_energy_and_seconds_outside_the_sweeps_are_not_counted(nvml: Nvml) -> None:
    with measured_usage(CUDA) as found:
        nvml.millijoules += 50_000
        start = time.perf_counter()
        for _ in range(2):
            with found.timed():
                nvml.millijoules += 1_500
        seconds = time.perf_counter() - start
        time.sleep(seconds)
        nvml.millijoules += 50_000
    assert found.fields()["energy_j"] == 3.0
    assert 0 < found.seconds <= seconds


@pytest.mark.parametrize(
    ("silent", "absent"),
    [
        (ENERGY, {"energy_j"}),
        (MEMORY, {"gpu_memory_mb", "gpu_memory_of"}),
        (PROCESSES, set()),
        ("nvmlInit", {"energy_j", "gpu_memory_mb", "gpu_memory_of"}),
    ],
)
@pytest.mark.parametrize(
    "error", [pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND]
)
def test_nothing_is_zero_that_the_device_does_not_tell(
    nvml: Nvml, silent: str, absent: set[str], error: int
) -> None:
    nvml.answers[silent] = error
    with measured_usage(CUDA) as found, found.timed():
        pass
    assert {name for name, value in found.fields().items() if value is None} == absent


def test_a_part_of_a_gpu_is_not_taken_for_the_whole(nvml: Nvml) -> None:
    nvml.name = f"MIG-{UUID}"
    with measured_usage(CUDA) as found, found.timed():
        nvml.used += 100 * MIB
    assert found.fields()["gpu_memory_mb"] == 100


@pytest.mark.parametrize("lacks", ["module", "library", "device"])
def test_a_missing_library_or_device_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, lacks: str
) -> None:
    names = () if lacks == "device" else (f"GPU-{uuid.uuid4()}",)
    monkeypatch.setattr(usage, "gpu_uuids", lambda: names)
    if lacks == "module":
        monkeypatch.setitem(sys.modules, "pynvml", None)
    with measured_usage(CUDA) as found, found.timed():
        pass
    fields = found.fields()
    assert fields["gpu_memory_mb"] is None and fields["energy_j"] is None
    assert fields["host_memory_mb"] > 0 and fields["seconds"] >= 0


def test_memory_of_a_server_is_not_said_to_be_this_processes(nvml: Nvml) -> None:
    with measured_usage(InferSettings(device="cuda", backend="triton")) as here:
        nvml.used += 100 * MIB
        here.sample()
    assert here.fields()["host_memory_mb"] is None and here.fields()["gpu_memory_mb"] == 100
    elsewhere = InferSettings(
        device="cuda", backend="triton", triton=TritonOptions(address="server:8001")
    )
    with measured_usage(elsewhere) as away:
        assert away.fields()["gpu_memory_mb"] is None


def test_inference_on_a_cpu_reports_no_value_of_a_gpu(tmp_path: Path) -> None:
    made = stage(tmp_path, speckle(6), blur(), blur(6))
    made.infer()
    measured = made.runtime.measured
    assert measured.seconds > 0 and measured.host_memory_mb
    assert (measured.gpu_memory_mb, measured.gpu_memory_of, measured.energy_j) == (None,) * 3


# --- limits --------------------------------------------------------------------------------------

HERE = device_name("cpu")


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"device_name": "Another", "seconds": 1e6}, f"for Another, and this is {HERE}"),
        ({"device_name": HERE, "gpu_memory_mb": 1e6}, "does not report gpu_memory_mb"),
        ({"device_name": HERE, "seconds": 1e6, "energy_j": 1}, "does not report energy_j"),
    ],
)
def test_limits_that_cannot_be_checked_are_refused_before_anything_is_run(
    tmp_path: Path, limits: dict[str, Any], says: str
) -> None:
    made = stage(tmp_path, speckle(3), blur())
    with pytest.raises(BusbenchError) as refused:
        made.infer(efficiency=EfficiencyLimits(**limits))
    assert refused.value.code == "device-unavailable"
    assert says in refused.value.message and "efficiency" in refused.value.remedy
    assert not list(made.out.iterdir())


def test_limits_that_can_be_checked_stop_no_inference(tmp_path: Path) -> None:
    made = stage(tmp_path, speckle(3), blur())
    limits = EfficiencyLimits(
        device_name=HERE, latency_ms=1e-6, seconds=1e-6, host_memory_mb=1
    )  # exceeded: that is for the harness to say
    assert len(made.infer(efficiency=limits)) == 3


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"seconds": 20.0, "latency_ms": 1.0, "host_memory_mb": 200}, None),
        ({"seconds": 19.5}, "seconds is 20, over the limit of 19.5"),
        (
            {"host_memory_mb": 100, "latency_ms": 0.5},
            "latency_ms is 1, over the limit of 0.5; host",
        ),
        ({"gpu_memory_mb": 4000}, "does not report gpu_memory_mb"),
        ({"device_name": "A GPU", "seconds": 1e6}, "for A GPU, and this is Some CPU"),
    ],
)
def test_no_model_over_a_limit_passes(limits: dict[str, Any], says: str | None) -> None:
    found = EfficiencyLimits(**{"device_name": "Some CPU", **limits}).check(RUNTIME.measured)
    assert found is None if says is None else found is not None and says in found


def test_limits_that_limit_nothing_are_refused() -> None:
    with pytest.raises(ValidationError, match="at least one of latency_ms"):
        EfficiencyLimits(device_name="Some CPU")
