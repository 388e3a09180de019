"""A Triton server as a backend: the model is served, and each run is a request over gRPC.

Masks are those of ONNX Runtime, which the server runs too. What takes our own server down, or never
ends, takes nothing else with it: the server is killed, and the next model gets a new one.
"""

from __future__ import annotations

import contextlib
import queue
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from tritonclient import grpc
from tritonclient.utils import InferenceServerException

from evaluator.documents.inference import Backend
from evaluator.errors import BusbenchError, Code
from evaluator.inference.backends import (
    InferSettings,
    device_unavailable,
    first_line,
    model_failed,
)
from evaluator.inference.backends.cuda import PROVIDERS, require_tf32
from evaluator.inference.backends.half import in_half
from evaluator.triton.repository import (
    KINDS,
    Service,
    add_model,
    has_fixed_batch,
    model_config,
    ports,
)
from evaluator.triton.server import LocalServer, find_server, unavailable
from evaluator.triton.slot import Slot, shares_memory

ASK_SECONDS = 5.0  # for a question that needs no work


class TritonModel:
    """One ONNX file, served; see `evaluator.inference.backends.Model`.

    Raises:
        BusbenchError: `triton-unavailable` where no server is; `device-unavailable` where it does
            not serve on that device; `model-failed` where it cannot load the file; `limit-time`.
    """

    backend: Backend = "triton"

    def __init__(self, path: Path, settings: InferSettings) -> None:
        if settings.device not in KINDS:
            raise _no_device(settings.device, "the backend triton does not know it")
        self._file, self._options, self._settings = path.name, settings.triton, settings
        self._name = f"busbench-{uuid.uuid4().hex[:12]}"
        self._late: BusbenchError | None = None  # why our own server was stopped
        self._slots: queue.SimpleQueue[Slot] = queue.SimpleQueue()
        self._closing = contextlib.ExitStack()
        with contextlib.ExitStack() as undo:
            undo.callback(self.close)
            self._client = self._connect()
            self.version = str(self._client.get_server_metadata().version)
            self.provider = PROVIDERS[settings.device][0]
            self._serve(path)
            undo.pop_all()

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps (N, K, H, W) for inputs (N, C, H, W); both float32."""
        if self.one_by_one and len(batch) > 1:
            return np.concatenate([self.run(image[None]) for image in batch])
        slot = self._slots.get()
        try:
            with self._failing("run"):
                return slot.infer(batch, self._options.seconds)
        finally:
            self._slots.put(slot)

    def close(self) -> None:
        """Stop our own server, or leave the operator's as it was found."""
        self._closing.close()

    def _connect(self) -> grpc.InferenceServerClient:
        """A client of a server that is ready."""
        options = self._options
        self._own: LocalServer | None = None
        if options.address is None:
            # the address space of a process with a GPU says nothing of its memory
            memory = options.memory_mb << 20 if self._settings.device == "cpu" else None
            require_tf32(self._settings.precision)  # the server inherits this
            self._own = LocalServer(find_server(options.executable), memory)
            self._closing.callback(self._own.stop)
            self._address, self._repository = self._own.address, self._own.repository
        elif options.repository is None or not options.repository.is_dir():
            raise unavailable(f"{options.repository} is not the folder of the server's models")
        else:
            self._address, self._repository = options.address, options.repository
        client = self._new_client()
        deadline = time.monotonic() + options.patience
        while not _is_ready(client):
            if self._own is not None and not self._own.is_running():
                raise unavailable(f"The Triton server ended ({self._own.last_words()})")
            if time.monotonic() > deadline:
                raise unavailable(f"No Triton server is ready at {self._address}")
            time.sleep(0.05)
        return client

    def _new_client(self) -> grpc.InferenceServerClient:
        client = grpc.InferenceServerClient(self._address)
        self._closing.callback(client.close)
        return client

    def _serve(self, path: Path) -> None:
        """Load the model, and make the slots in which it runs."""
        settings = self._settings
        half = in_half(path) if settings.precision == "fp16" else None
        network = onnx.load_from_string(half) if half else onnx.load(path, load_external_data=False)
        given, result = ports(network)
        service = Service.on(settings.device, settings.threads, settings.precision)
        self.one_by_one = has_fixed_batch(given, result)
        self.in_flight = service.instances + 1  # one is on its way while the others run
        config = model_config(self._name, given, result, service=service)
        if self._own is None:
            self._closing.callback(shutil.rmtree, self._repository / self._name, True)
        linked = self._own is not None
        add_model(self._repository, self._name, half or path, config=config, link=linked)
        with self._failing("loaded"):
            self._client.load_model(self._name, client_timeout=self._options.seconds)
        if self._own is None:
            self._closing.callback(self._unload)
        shared = self._options.shared_memory and (
            self._own is not None or shares_memory(self._client)
        )
        for _ in range(self.in_flight):
            slot = Slot(
                self._new_client(),
                self._name,
                given,
                result=result,
                shared=shared,
            )
            self._closing.callback(slot.close, unregister=self._own is None)
            self._slots.put(slot)

    def _unload(self) -> None:
        with contextlib.suppress(InferenceServerException):  # then the server is gone
            self._client.unload_model(self._name, client_timeout=ASK_SECONDS)

    @contextlib.contextmanager
    def _failing(self, verb: str) -> Iterator[None]:
        """Say whose fault it is when the server refuses, dies or does not answer."""
        try:
            yield
        except InferenceServerException as error:
            raise self._late or self._explain(verb, error) from error

    def _explain(self, verb: str, error: InferenceServerException) -> BusbenchError:
        own = self._own
        reason = first_line(str(error.message()))
        if error.status() == "StatusCode.DEADLINE_EXCEEDED":
            rest = "" if own is not None else " Restart the Triton server before the next model."
            late = BusbenchError(
                Code.LIMIT_TIME,
                f"{self._file} was not {verb} within {self._options.seconds:g} s.",
                f"Make it faster, or ask the organiser for a higher limit.{rest}",
            )
            if own is not None:
                self._late = late  # before the other requests fail with the server
                own.stop()
            return late
        if error.status() == "StatusCode.UNAVAILABLE":
            if own is None:
                return unavailable(f"The Triton server at {self._address} went away ({reason})")
            reason = f"it took the server down ({own.last_words()})"
        if verb == "loaded" and self._settings.device != "cpu":
            return _no_device(self._settings.device, reason)  # the gate has loaded it on the CPU
        runtime = f"Triton {self.version}"
        return model_failed(self._file, verb, runtime, reason=reason.rstrip("."))


def _is_ready(client: grpc.InferenceServerClient) -> bool:
    try:
        return bool(client.is_server_ready(client_timeout=ASK_SECONDS))
    except InferenceServerException:
        return False


def _no_device(device: str, reason: str) -> BusbenchError:
    return device_unavailable(device, reason.rstrip("."), "Use NVIDIA's Triton image")
