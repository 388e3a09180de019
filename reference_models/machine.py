"""Device, threads and precision of a run, decided once when it starts."""

from __future__ import annotations

import ctypes
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from reference_models.errors import MachineError

DeviceName = Literal["cpu", "cuda", "auto"]
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
# glibc's mallopt: never return memory by trimming, take 64 MiB at a time, never use mmap.
_MALLOC_OPTIONS = ((-1, 2**31 - 1), (-2, 64 * 2**20), (-4, 0))


@dataclass(frozen=True)
class Machine:
    """Where a training runs.

    Args:
        device: the torch device.
        dtype: what autocast computes in; float32 switches it off.
        layout: the memory format of images and weights.
    """

    device: torch.device
    dtype: torch.dtype
    layout: torch.memory_format = torch.channels_last

    @property
    def autocast(self) -> bool:
        """Whether the network runs in a lower precision."""
        return self.dtype != torch.float32

    def send(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of the host on the device, without the host waiting for the copy."""
        if self.device.type != "cuda":
            return tensor.to(self.device)
        return tensor.pin_memory().to(self.device, non_blocking=True)


def prepare_machine(device: DeviceName, threads: int | None, precision: str) -> Machine:
    """Choose the device and set this process's threads and allocator.

    Args:
        threads: CPU threads; None takes what the container or the machine grants.
        precision: `fp32`, `bf16`, `fp16`, or `auto`: fp32 on the CPU, half of that on CUDA.

    Raises:
        MachineError: `cuda` was asked for and no CUDA device answers.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise MachineError(
            "No CUDA device answers.", "Use --device cpu, or run where PyTorch sees a GPU."
        )
    torch.set_num_threads(threads or min(torch.get_num_threads(), granted_cpus(_CPU_QUOTA)))
    if device == "cpu" or not torch.cuda.is_available():
        _keep_freed_memory()
        return Machine(torch.device("cpu"), _precision(precision, torch.float32))
    torch.backends.cudnn.benchmark = True  # the sizes never change within a run
    half = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return Machine(torch.device("cuda"), _precision(precision, half))


def granted_cpus(quota: Path) -> int:
    """CPUs that the control group at `quota` (a `cpu.max` file) grants; at least 1.

    A container sees all the host's cores; more threads than its share only get in each other's way.
    """
    try:
        limit, period = quota.read_text(encoding="ascii").split()
        return max(1, math.ceil(int(limit) / int(period)))
    except (OSError, ValueError):  # no such file, or `max`
        return sys.maxsize


def _precision(name: str, automatic: torch.dtype) -> torch.dtype:
    table = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    return table.get(name, automatic)


def _keep_freed_memory() -> None:
    """Let the C library keep what PyTorch frees on the CPU.

    Every activation is large, so by default each is mapped, touched page by page and unmapped
    again in every step; keeping the pages saves about a third of a step's time.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        for option, value in _MALLOC_OPTIONS:
            mallopt(option, value)
