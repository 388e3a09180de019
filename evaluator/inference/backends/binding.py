"""Inputs that stay on the device, bound once for each batch shape; outputs go to the host directly.

Source: ONNX Runtime, "I/O Binding".
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Type = type[np.floating[Any]]
Array = NDArray[np.floating[Any]]
Shape = tuple[int, ...]
# How ONNX Runtime calls the types that the gate takes at a network's ends.
ENDS: Mapping[str, Type] = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


_KEPT = 16  # sets of buffers: they stay until the end, and native images have any number of shapes


class _Binding(NamedTuple):
    """What one batch shape is bound to."""

    binding: Any
    staged: Array  # of the host, (N, C, H, W)
    given: Any  # the same on the device
    result: Array  # of the host, (N, K, H, W): the output itself


class Bound:
    """A session whose input stays on the device, bound for each batch shape.

    Only pixels and maps travel, between the device and memory of the host that is made for it. Runs
    take turns on the device; each has buffers of its own, so that a thread fills and empties them
    while another's batch runs. Beyond sixteen sets of buffers, batches are run unbound.

    Args:
        device: `cuda`, or `cpu` in tests.
        empty: from a shape and a type to an array of the host that the device copies from and to.
    """

    def __init__(
        self,
        session: onnxruntime.InferenceSession,
        device: str,
        empty: Callable[[Shape, Type], Array],
    ) -> None:
        self._session, self._device, self._empty = session, device, empty
        self._lock, self._made = threading.Lock(), 0
        self._free: defaultdict[Shape, list[_Binding]] = defaultdict(list)  # by shape
        self._shapes: dict[Shape, Shape] = {}  # of maps, by the batch's

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps (N, K, H, W) of a batch (N, C, H, W), in memory of the caller's own."""
        bound = self._take(batch)
        if bound is None:
            with self._lock:
                return run_unbound(self._session, batch)
        bound.staged[:] = batch
        with self._lock:
            bound.given.update_inplace(bound.staged)
            self._session.run_with_iobinding(bound.binding)
        maps = bound.result.astype(np.float32)
        self._free[batch.shape].append(bound)
        return maps

    def _take(self, batch: NDArray[np.float32]) -> _Binding | None:
        """Buffers for a batch that no other run has; None where there are enough already."""
        with self._lock:
            if free := self._free[batch.shape]:
                return free.pop()
            if self._made == _KEPT:
                return None
            bound = self._bind(batch)
            self._made += 1
            return bound

    def _bind(self, batch: NDArray[np.float32]) -> _Binding:
        """Buffers for batches of this one's shape; a first run of that gives the shape of maps."""
        taken, made = self._session.get_inputs()[0], self._session.get_outputs()[0]
        staged = self._empty(batch.shape, ENDS[taken.type])
        given = onnxruntime.OrtValue.ortvalue_from_shape_and_type(
            batch.shape, staged.dtype, self._device, 0
        )
        binding = self._session.io_binding()
        binding.bind_ortvalue_input(taken.name, given)
        if batch.shape not in self._shapes:
            staged[:] = batch
            given.update_inplace(staged)
            binding.bind_output(made.name)
            self._session.run_with_iobinding(binding)
            self._shapes[batch.shape] = tuple(binding.get_outputs()[0].shape())
        shape = self._shapes[batch.shape]
        result = self._empty(shape, ENDS[made.type])
        binding.bind_output(made.name, "cpu", 0, result.dtype, shape, result.ctypes.data)
        return _Binding(binding, staged, given, result)


def run_unbound(
    session: onnxruntime.InferenceSession, batch: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Maps (N, K, H, W) of a batch (N, C, H, W), through memory that the session makes."""
    given, result = session.get_inputs()[0], session.get_outputs()[0]
    maps = session.run([result.name], {given.name: batch.astype(ENDS[given.type], copy=False)})[0]
    return np.asarray(maps, np.float32)
