"""Memory of the host that a CUDA device copies from and to."""

from __future__ import annotations

import ctypes
from contextlib import closing

import numpy as np

from evaluator.documents.inference import Device
from evaluator.inference.backends.pinned import PinnedMemory
from evaluator.inference.hardware import DRIVER


def test_memory_that_is_called_pinned_is(cuda: Device) -> None:
    with closing(PinnedMemory()) as pinned:
        array = pinned.empty((2, 3), np.float32)
        array[:] = 7
        start, flags = ctypes.c_void_p(array.ctypes.data), ctypes.c_uint()
        with pinned.entered():  # the driver answers within a context alone
            assert ctypes.CDLL(DRIVER).cuMemHostGetFlags(ctypes.byref(flags), start) == 0
