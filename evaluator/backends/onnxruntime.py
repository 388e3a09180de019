"""ONNX Runtime, on the CPU or a CUDA device; the device asked for is the device used, or an error.

Not yet run on a GPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from evaluator.backends import Backend, Device, InferSettings
from evaluator.errors import BusbenchError

PROVIDERS: dict[Device, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_STATE = onnxruntime.capi.onnxruntime_pybind11_state
_FAILURES = (
    *(_STATE.Fail, _STATE.InvalidArgument, _STATE.InvalidGraph, _STATE.InvalidProtobuf),
    *(_STATE.NotImplemented, _STATE.RuntimeException, RuntimeError, MemoryError),
)


class OnnxRuntimeModel:
    """One ONNX file in a session of its own; see `evaluator.backends.Model`.

    Raises:
        BusbenchError: `device-unavailable` where CUDA was asked for and did not come;
            `model-failed` where the file cannot be loaded or run.
    """

    backend: Backend = "onnxruntime"
    version: str = onnxruntime.__version__
    in_flight: int = 1

    def __init__(self, path: Path, settings: InferSettings) -> None:
        self.path, device = path, settings.device
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = settings.threads
        options.log_severity_level = 4  # failures are raised; the rest is noise on stderr
        # bytes with the ORT-format magic would reach another, less hardened parser
        options.add_session_config_entry("session.load_model_format", "ONNX")
        if device != "cpu" and hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=[PROVIDERS[device]]
            )
        except _FAILURES as error:
            raise self._failed("loaded", error) from error
        self.provider: str = self._session.get_providers()[0]
        if self.provider != PROVIDERS[device]:
            raise BusbenchError(
                "device-unavailable",
                f"--device {device} was asked for, but ONNX Runtime fell back to {self.provider}.",
                "Install busbench[gpu] beside a working CUDA driver, or use --device cpu.",
            )
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps (N, K, H, W) for inputs (N, C, H, W); both float32."""
        try:
            output: Any = self._session.run([self._output], {self._input: batch})[0]
        except _FAILURES as error:
            raise self._failed("run", error) from error
        maps: NDArray[np.float32] = output
        return maps

    def close(self) -> None:
        """Let go of the session and its memory."""
        del self._session

    def _failed(self, verb: str, error: BaseException) -> BusbenchError:
        line = str(error).strip().splitlines()[0][:300] if str(error).strip() else "no reason given"
        return BusbenchError(
            "model-failed",
            f"{self.path.name} cannot be {verb} by ONNX Runtime {self.version}: {line}.",
            "Load it with the same ONNX Runtime version on your side first.",
        )
