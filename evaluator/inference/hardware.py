"""Names of this machine's processor and GPU, and how much memory a process may take."""

from __future__ import annotations

import ctypes
import platform
import uuid
from pathlib import Path

_CPU_INFO = Path("/proc/cpuinfo")
# The control group's limit (version 2, then 1), where there is one; `max` means none.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
_NAME_BYTES = 100
# Of glibc's `mallopt`: how much is kept, and what is so large that it is not.
_TRIM_THRESHOLD, _KEPT = -1, 1 << 29
_MMAP_THRESHOLD, _LARGEST = -3, 1 << 25
DRIVER = "libcuda.so.1"  # CUDA's: there wherever CUDA works


def device_name(device: str) -> str:
    """The model of the processor, or of the first CUDA device where `device` is another than cpu.

    A machine without a name is called `unknown`.
    """
    name = _processor() if device == "cpu" else _gpu()
    return "".join(c if c.isprintable() else " " for c in name).strip()[:_NAME_BYTES] or "unknown"


def _processor() -> str:
    lines = _CPU_INFO.read_text().splitlines() if _CPU_INFO.exists() else []
    models = (line.partition(":")[2] for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()


def _gpu() -> str:
    name = ctypes.create_string_buffer(_NAME_BYTES)
    answered = _ask_driver("cuDeviceGetName", name, _NAME_BYTES)
    return name.value.decode(errors="replace") if answered else ""


def gpu_uuids() -> tuple[str, ...]:
    """What NVML may call the first CUDA device, a GPU or a part of one; empty without one."""
    found = ctypes.create_string_buffer(16)
    if not _ask_driver("cuDeviceGetUuid_v2", found):
        return ()
    return tuple(f"{kind}-{uuid.UUID(bytes=found.raw)}" for kind in ("GPU", "MIG"))


def _ask_driver(question: str, *answer: object) -> bool:
    """Whether CUDA's driver answers on the first device."""
    try:
        driver = ctypes.CDLL(DRIVER)
    except OSError:
        return False
    device = ctypes.c_int()
    return not (
        driver.cuInit(0)
        or driver.cuDeviceGet(ctypes.byref(device), 0)
        or getattr(driver, question)(*answer, device)
    )


def _free_on_gpu() -> int:
    """Bytes that are free on the first CUDA device; 0 where the driver does not tell."""
    context, free, total = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_size_t()
    if not _ask_driver("cuDevicePrimaryCtxRetain", ctypes.byref(context)):
        return 0
    driver = ctypes.CDLL(DRIVER)
    driver.cuCtxPushCurrent_v2(context)
    driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
    driver.cuCtxPopCurrent_v2(ctypes.byref(context))
    _ask_driver("cuDevicePrimaryCtxRelease_v2")
    return free.value


def peak_memory() -> int:
    """The most memory that this process has had, in bytes.

    `getrusage` would count the memory of its parent when it started this process.
    """
    return _kibibytes(Path("/proc/self/status"), "VmHWM")


def memory_limit() -> int:
    """Bytes that this process may take: its control group's limit, or the machine's memory."""
    texts = (path.read_text().strip() for path in _LIMITS if path.exists())
    known = [int(text) for text in texts if text.isdigit()]
    return min([_kibibytes(Path("/proc/meminfo"), "MemTotal"), *known])


def free_memory(device: str) -> int:
    """Bytes that this process may still take: of the host, and of a device where it has less."""
    here = memory_limit() - _kibibytes(Path("/proc/self/status"), "VmRSS")
    free = min(here, _kibibytes(Path("/proc/meminfo"), "MemAvailable"))
    return free if device == "cpu" else min(free, _free_on_gpu())


def keep_freed_memory() -> None:
    """Let this process keep memory that it frees, for what it asks for next.

    Arrays of some megabytes would go back to the system with each batch, and come anew page by
    page, which all threads wait for. Only glibc has the setting; other libraries do as they do.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_TRIM_THRESHOLD, _KEPT)
        mallopt(_MMAP_THRESHOLD, _LARGEST)


def _kibibytes(path: Path, name: str) -> int:
    """A field of a file of the kernel's, in bytes."""
    line = next(line for line in path.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024
