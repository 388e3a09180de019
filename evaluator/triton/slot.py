"""One request at a time to a Triton server, through memory that both see or through the socket."""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import time
import uuid
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient import grpc
from tritonclient.utils import InferenceServerException, triton_to_np_dtype
from tritonclient.utils import shared_memory as shm

from evaluator.triton.repository import Port

# A server refuses to release memory just after a request that used it.
TRIES, PAUSE = 20, 0.1
MEMORY = "/dev/shm"
COPIES = 8  # of a batch that must fit into it: ours, the server's, and those of requests in flight


class _Region:
    """Shared memory that the server knows by the same name."""

    def __init__(self, client: grpc.InferenceServerClient, size: int) -> None:
        self.name, self.size = f"busbench-{os.getpid()}-{uuid.uuid4().hex}", size
        self._client = client
        self.handle = shm.create_shared_memory_region(self.name, self.name, size, create_only=True)
        try:
            client.register_system_shared_memory(self.name, self.name, size)
        except InferenceServerException:
            shm.destroy_shared_memory_region(self.handle)
            raise

    def close(self, *, unregister: bool) -> None:
        shm.destroy_shared_memory_region(self.handle)
        for _ in range(TRIES if unregister else 0):
            with contextlib.suppress(InferenceServerException):
                self._client.unregister_system_shared_memory(self.name)
                return
            time.sleep(PAUSE)


def shares_memory(client: grpc.InferenceServerClient) -> bool:
    """Whether the server sees shared memory of this host."""
    try:
        _Region(client, 4096).close(unregister=True)
    except InferenceServerException:
        return False
    return True


class Slot:
    """A connection of its own with memory of its own; not for two threads at once.

    Args:
        name: of the model; `given` and `result` are its input and output.
        shared: whether images and maps go through shared memory.
    """

    def __init__(
        self,
        client: grpc.InferenceServerClient,
        name: str,
        given: Port,
        *,
        result: Port,
        shared: bool,
    ) -> None:
        self._client, self._name, self._given, self._result = client, name, given, result
        self._shared = shared
        self._regions: dict[str, _Region] = {}
        self._outgrown: list[_Region] = []
        self._pixel_bytes = 0  # of the maps of one pixel, known after the first run

    def infer(self, batch: NDArray[np.floating[Any]], seconds: float) -> NDArray[np.float32]:
        """Maps (N, K, H, W) of a batch (N, C, H, W), in memory of the caller's own.

        Raises:
            InferenceServerException: whatever goes wrong there, or takes longer.
        """
        given = grpc.InferInput(self._given.name, list(batch.shape), self._given.datatype)
        result = grpc.InferRequestedOutput(self._result.name)
        batch = batch.astype(triton_to_np_dtype(self._given.datatype), copy=False)
        source = self._region("in", batch.nbytes)
        pixels = len(batch) * math.prod(batch.shape[2:])  # native images have sizes of their own
        region = self._region("out", pixels * self._pixel_bytes)
        if source is not None:
            shm.set_shared_memory_region(source.handle, [batch])
            given.set_shared_memory(source.name, batch.nbytes)
        else:
            given.set_data_from_numpy(batch)
        if region is not None:
            result.set_shared_memory(region.name, region.size)
        answer = self._client.infer(self._name, [given], outputs=[result], client_timeout=seconds)
        if region is not None:  # the server has refused a result that would not fit
            shape = tuple(answer.get_output(self._result.name).shape)
            dtype = triton_to_np_dtype(self._result.datatype)
            return np.array(shm.get_contents_as_numpy(region.handle, dtype, shape), np.float32)
        maps: NDArray[np.floating[Any]] = answer.as_numpy(self._result.name)
        self._pixel_bytes = maps.nbytes // pixels
        return maps.astype(np.float32, copy=False)

    def _region(self, which: str, size: int) -> _Region | None:
        """Memory of at least `size` bytes, made once and used again; None where there is none."""
        region = self._regions.get(which)
        if region is not None and region.size >= size:
            return region
        # to write where the host has no more of it would end this process
        if not self._shared or size == 0 or size * COPIES > shutil.disk_usage(MEMORY).free:
            return None
        if region is not None:
            self._outgrown.append(region)
        self._regions[which] = _Region(self._client, size)
        return self._regions[which]

    def close(self, *, unregister: bool) -> None:
        """Give the memory back; a server that is about to end need not unregister it."""
        for region in (*self._outgrown, *self._regions.values()):
            region.close(unregister=unregister)
