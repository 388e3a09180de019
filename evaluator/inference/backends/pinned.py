"""Memory of the host that a GPU copies from and to without a detour: page-locked by CUDA's driver.

Copies of ordinary memory pass through a buffer of the driver's own, at half the speed and less. The
driver is asked itself because ONNX Runtime's Python gives no such memory.

Source: CUDA Driver API, "Memory Management" and "Primary Context Management".
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.inference.hardware import DRIVER

_PORTABLE = 1  # CU_MEMHOSTALLOC_PORTABLE: page-locked for every context, the runtime's among them


class PinnedMemory:
    """Page-locked arrays for the copies of one CUDA device.

    Raises:
        MemoryError: where there is no driver, no such device, or no more such memory.
    """

    def __init__(self, device: int = 0) -> None:
        try:
            self._driver = ctypes.CDLL(DRIVER)
        except OSError as error:
            raise MemoryError(f"{DRIVER} cannot be loaded") from error
        self._device, self._context = ctypes.c_int(), ctypes.c_void_p()
        self._held: list[ctypes.c_void_p] = []
        self._ask("cuInit", 0)
        self._ask("cuDeviceGet", ctypes.byref(self._device), device)
        # the primary context is the one that ONNX Runtime works in
        self._ask("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), self._device)

    def empty(
        self, shape: tuple[int, ...], dtype: type[np.floating[Any]]
    ) -> NDArray[np.floating[Any]]:
        """An array of any content; not to be touched after `close`."""
        size, start = math.prod(shape) * np.dtype(dtype).itemsize, ctypes.c_void_p()
        with self.entered():
            self._ask("cuMemHostAlloc", ctypes.byref(start), ctypes.c_size_t(size), _PORTABLE)
        self._held.append(start)
        bytes_ = ctypes.cast(start, ctypes.POINTER(ctypes.c_ubyte))
        return np.ctypeslib.as_array(bytes_, (size,)).view(dtype).reshape(shape)

    def close(self) -> None:
        """Give the memory back."""
        with self.entered():
            while self._held:
                self._ask("cuMemFreeHost", self._held.pop())
        self._ask("cuDevicePrimaryCtxRelease_v2", self._device)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The device's context is the calling thread's, and then again whichever was."""
        self._ask("cuCtxPushCurrent_v2", self._context)
        try:
            yield
        finally:
            self._ask("cuCtxPopCurrent_v2", ctypes.byref(ctypes.c_void_p()))

    def _ask(self, name: str, *words: object) -> None:
        code = getattr(self._driver, name)(*words)
        if code:
            raise MemoryError(f"CUDA's driver answers {name} with error {code}")
