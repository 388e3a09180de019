"""ONNX Runtime, on the CPU or a CUDA device; the device asked for is the device used, or an error.

What is decided there and the binding are tested on the CPU, too; `tests/gpu` runs on a device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from evaluator.documents.inference import Backend, Device
from evaluator.errors import BusbenchError, Code
from evaluator.inference.backends import (
    InferSettings,
    device_unavailable,
    first_line,
    model_failed,
)
from evaluator.inference.backends.binding import Bound, run_unbound
from evaluator.inference.backends.cuda import PROVIDERS, provider_options, require_tf32
from evaluator.inference.backends.half import in_half
from evaluator.inference.backends.pinned import PinnedMemory

# Arithmetic on shapes belongs on the CPU, so `session.disable_cpu_ep_fallback` would refuse honest
# exports; what makes a network slow must not be there.
_HEAVY = """
Attention BatchNormalization Conv ConvInteger ConvTranspose Einsum Gemm LayerNormalization MatMul
MatMulInteger QLinearConv QLinearMatMul Resize
"""
# They install one and the same module: the one written last wins, and pip does not see it.
_SAME_MODULE = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml")
_STATE = onnxruntime.capi.onnxruntime_pybind11_state
_FAILURES = (
    _STATE.Fail,
    _STATE.InvalidArgument,
    _STATE.InvalidGraph,
    _STATE.InvalidProtobuf,
    _STATE.NotImplemented,
    _STATE.RuntimeException,
    _STATE.EPFail,
    RuntimeError,
    ValueError,
    MemoryError,
)


class OnnxRuntimeModel:
    """One ONNX file in a session of its own; see `evaluator.inference.backends.Model`.

    Raises:
        BusbenchError: `device-unavailable` where the device did not come or would not run all of
            the network; `model-failed` where the file cannot be loaded; `extra-conflict`.
    """

    backend: Backend = "onnxruntime"
    version: str = onnxruntime.__version__
    in_flight: int = 1

    def __init__(self, path: Path, settings: InferSettings) -> None:
        require_one_runtime([name for name in _SAME_MODULE if _is_installed(name)])
        self._name, self._closing = path.name, ExitStack()
        session = _open(path, settings)
        self.provider: str = session.get_providers()[0]
        self.one_by_one: bool = session.get_inputs()[0].shape[0] == 1
        self._run: Callable[[NDArray[np.float32]], NDArray[np.float32]]
        if settings.device == "cpu":
            self._run = partial(run_unbound, session)
        else:
            require_gpu_provider(settings.device, self.provider, _placed(session), file=path.name)
            try:
                pinned = PinnedMemory()
            except MemoryError as error:
                raise _unavailable(settings.device, str(error)) from error
            self._closing.callback(pinned.close)
            self._run = Bound(session, "cuda", pinned.empty).run
            self.in_flight = 2  # one is filled or checked while the other runs

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps (N, K, H, W) for inputs (N, C, H, W); both float32."""
        if self.one_by_one and len(batch) > 1:
            return np.concatenate([self.run(image[None]) for image in batch])
        try:
            return self._run(batch)
        except _FAILURES as error:
            raise _failed(self._name, "run", error) from error

    def close(self) -> None:
        """Release the session and its memory."""
        del self._run
        self._closing.close()


def _open(path: Path, settings: InferSettings) -> onnxruntime.InferenceSession:
    # it warns of a plugin that it does without; why a device does not come is an error, and shown
    onnxruntime.set_default_logger_severity(3)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.log_severity_level = 4  # failures are raised; the rest is noise on stderr
    # bytes with the ORT-format magic would reach another, less hardened parser
    options.add_session_config_entry("session.load_model_format", "ONNX")
    # threads that wait for work would take the time of the other models of a sweep, and of packing
    options.add_session_config_entry("session.force_spinning_stop", "1")
    on_device = settings.device != "cpu"
    if on_device:
        options.use_deterministic_compute = True
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        require_tf32(settings.precision)
        onnxruntime.preload_dlls()
    model = in_half(path) if settings.precision == "fp16" else str(path)
    try:
        return onnxruntime.InferenceSession(
            model, options, providers=provider_options(settings), enable_fallback=0
        )
    except _FAILURES as error:
        if on_device and _loads_on_cpu(model):
            raise _unavailable(settings.device, f"it failed: {first_line(str(error))}") from error
        raise _failed(path.name, "loaded", error) from error


def _loads_on_cpu(model: str | bytes) -> bool:
    """Whether a model is sound: of a file the gate has found that, of its conversion nobody."""
    try:
        return isinstance(model, str) or bool(
            onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        )
    except _FAILURES:
        return False


def _placed(session: onnxruntime.InferenceSession) -> dict[str, set[str]]:
    placed: dict[str, set[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        placed.setdefault(part.ep_name, set()).update(node.op_type for node in part.get_nodes())
    return placed


def require_gpu_provider(
    device: Device, provider: str, placed: Mapping[str, set[str]], *, file: str
) -> None:
    """Refuse a session that is not on the device that was asked for.

    Args:
        provider: the session's first.
        placed: provider -> the operators that it runs.

    Raises:
        BusbenchError: `device-unavailable` where it would run elsewhere, wholly or in part.
    """
    wanted = PROVIDERS[device][0]
    if provider != wanted:
        raise _unavailable(device, f"ONNX Runtime fell back to {provider}")
    strays = sorted(placed.get(PROVIDERS["cpu"][0], set()) & {*_HEAVY.split()})
    if strays:
        raise _unavailable(device, f"it cannot run {', '.join(strays)} of {file}")
    if wanted not in placed:
        raise _unavailable(device, f"it runs nothing of {file}")


def require_one_runtime(installed: Sequence[str]) -> None:
    """Raise `extra-conflict` where two of the packages in `installed` are one module."""
    if len(installed) > 1:
        names = " and ".join(installed)
        raise BusbenchError(
            Code.EXTRA_CONFLICT,
            f"{names} are both installed and overwrite each other.",
            f"Run `pip uninstall {' '.join(installed)}`, then install the one you need.",
        )


def _is_installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def _unavailable(device: Device, reason: str) -> BusbenchError:
    return device_unavailable(
        device, reason, "Run pip install -e '.[gpu]' in your checkout of BUSBench"
    )


def _failed(file: str, verb: str, error: BaseException) -> BusbenchError:
    runtime = f"ONNX Runtime {onnxruntime.__version__}"
    return model_failed(file, verb, runtime, reason=first_line(str(error)))
