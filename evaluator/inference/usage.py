"""Usage of an inference stage: peak memory of host and GPU, seconds, and energy.

NVIDIA's management library (NVML) reports what is taken on a GPU; what it does not report is None,
never zero. Energy is the whole GPU's, so the evaluation should have it for itself.

Source: NVML API Reference, "Device Queries".
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from evaluator.documents.inference import EfficiencyLimits
from evaluator.errors import BusbenchError, Code
from evaluator.inference.backends import InferSettings
from evaluator.inference.hardware import device_name, gpu_uuids, peak_memory

INTERVAL = 0.1  # seconds between two samples; a runtime gives memory back with its session alone


class GpuReading(NamedTuple):
    """What a GPU reports at one moment; None where it does not."""

    process: int | None = None  # bytes that this process takes
    device: int | None = None  # bytes that are taken altogether
    millijoules: int | None = None  # since its driver was loaded


ReadGpu = Callable[[], GpuReading]


class Usage:
    """Peaks and sums of an inference stage; `measured_usage` makes one.

    Args:
        read_gpu: gives what the GPU reports now.
        is_local: whether the models run in this very process.
    """

    def __init__(self, read_gpu: ReadGpu, *, is_local: bool) -> None:
        self._read, self._is_local = read_gpu, is_local
        self._lock = threading.Lock()  # the sampling thread's, too
        self._start = read_gpu()
        self._process: int | None = None
        self._device = self._start.device
        self._millijoules = None if self._start.millijoules is None else 0
        self.seconds = 0.0

    def sample(self) -> GpuReading:
        """Take the GPU's memory into account as it is now."""
        now = self._read()
        with self._lock:
            self._process = _largest(self._process, now.process)
            self._device = _largest(self._device, now.device)
        return now

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the seconds, and the energy, of what is run in it."""
        before, start = self.sample().millijoules, time.perf_counter()
        yield
        self.seconds += time.perf_counter() - start
        after = self.sample().millijoules
        if before is None or after is None or self._millijoules is None:
            self._millijoules = None
        else:
            self._millijoules += after - before

    def fields(self) -> dict[str, Any]:
        """The values for `Measured`."""
        return {
            "seconds": round(self.seconds, 3),
            "host_memory_mb": peak_memory() >> 20 if self._is_local else None,
            **self._gpu_memory(),
            "energy_j": None if self._millijoules is None else self._millijoules / 1000,
        }

    def _gpu_memory(self) -> dict[str, Any]:
        if self._process is not None:
            return {"gpu_memory_mb": self._process >> 20, "gpu_memory_of": "process"}
        if self._device is None or self._start.device is None:
            return {"gpu_memory_mb": None, "gpu_memory_of": None}
        taken = self._device - self._start.device
        return {"gpu_memory_mb": taken >> 20, "gpu_memory_of": "device"}


@contextmanager
def measured_usage(settings: InferSettings) -> Iterator[Usage]:
    """Measure what is run in it with `settings`.

    Raises:
        BusbenchError: `device-unavailable`, before anything is run, where the track has limits that
            cannot be checked here.
    """
    # a server's memory is not this process's, and another machine's GPU is not here
    is_away = settings.backend == "triton" and settings.triton.address is not None
    with _opened_gpu("cpu" if is_away else settings.device) as read_gpu:
        usage = Usage(read_gpu, is_local=settings.backend == "onnxruntime")
        if settings.efficiency is not None:
            _require_checkable(settings.efficiency, usage, settings)
        with _sampled(usage):
            yield usage


def _require_checkable(limits: EfficiencyLimits, usage: Usage, settings: InferSettings) -> None:
    known = {name for name, value in usage.fields().items() if value is not None}
    problem = limits.check_device(device_name(settings.device), {*known, "latency_ms"})
    if problem is not None:
        raise BusbenchError(
            Code.DEVICE_UNAVAILABLE,
            f"The limits on efficiency cannot be checked here: {problem}.",
            "Evaluate on the device that challenge.yaml names for this track, with the extra `gpu` "
            "and a driver that reports these values, or correct the track's `efficiency`.",
        )


@contextmanager
def _sampled(usage: Usage) -> Iterator[None]:
    """Sample the GPU's memory in a thread, so that no peak is missed for long."""
    done = threading.Event()

    def work() -> None:
        while not done.wait(INTERVAL):
            usage.sample()

    thread = threading.Thread(target=work, name="usage", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextmanager
def _opened_gpu(device: str) -> Iterator[ReadGpu]:
    """The reader of the first CUDA device; on a CPU, or without NVML, it reads nothing."""
    names = () if device == "cpu" else gpu_uuids()
    nvml = _load_nvml() if names else None
    if nvml is None:
        yield GpuReading
        return

    def ask(question: str, *words: object) -> Any:
        try:
            return getattr(nvml, question)(*words)
        except (nvml.NVMLError, nvml.NVMLLibraryMismatchError):
            return None

    def read() -> GpuReading:
        listed = ask("nvmlDeviceGetComputeRunningProcesses", handle) or ()
        # of a container these are the host's ids, where no process of a user has one so small
        own = next((each.usedGpuMemory for each in listed if each.pid == os.getpid()), None)
        memory = ask("nvmlDeviceGetMemoryInfo", handle)
        taken = None if memory is None else memory.used
        return GpuReading(own, taken, ask("nvmlDeviceGetTotalEnergyConsumption", handle))

    try:
        found = (ask("nvmlDeviceGetHandleByUUID", name) for name in names)
        handle = next((each for each in found if each is not None), None)
        yield GpuReading if handle is None else read
    finally:
        ask("nvmlShutdown")


def _load_nvml() -> Any:
    """NVML's module, initialised; None where it, its library or a driver is missing."""
    try:
        import pynvml  # noqa: PLC0415  of the extra `gpu`

        pynvml.nvmlInit()
    except ModuleNotFoundError:
        return None
    except pynvml.NVMLError:
        return None
    return pynvml


def _largest(*values: int | None) -> int | None:
    return max((value for value in values if value is not None), default=None)
