"""ONNX Runtime, on the CPU or a CUDA device; the device asked for is the device used, or an error.

Not yet run on a GPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from evaluator.errors import BusbenchError

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_STATE = onnxruntime.capi.onnxruntime_pybind11_state
_FAILURES = (
    *(_STATE.Fail, _STATE.InvalidArgument, _STATE.InvalidGraph, _STATE.InvalidProtobuf),
    *(_STATE.NotImplemented, _STATE.RuntimeException, RuntimeError, MemoryError),
)


class OnnxRuntimeModel:
    """One ONNX file, loaded.

    Raises:
        BusbenchError: `device-unavailable` where CUDA was asked for and did not come;
            `model-failed` where the file cannot be loaded or run.
    """

    backend: Literal["onnxruntime"] = "onnxruntime"
    version: str = onnxruntime.__version__

    def __init__(self, path: Path, device: Literal["cpu", "cuda"], threads: int) -> None:
        self.path, self.device, self.threads = path, device, threads
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # failures are raised; the rest is noise on stderr
        # bytes with the ORT-format magic would reach another, less hardened parser
        options.add_session_config_entry("session.load_model_format", "ONNX")
        if device == "cuda" and hasattr(onnxruntime, "preload_dlls"):
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
        """Maps (N, H, W) for inputs (N, C, H, W); both float32."""
        try:
            output: Any = self._session.run([self._output], {self._input: batch})[0]
        except _FAILURES as error:
            raise self._failed("run", error) from error
        expected = (batch.shape[0], 1, *batch.shape[2:])
        if output.shape != expected:
            raise BusbenchError(
                "model-failed",
                f"{self.path.name} gave an output of shape {output.shape}, not {expected}.",
                "Export one map per image, at the input's size.",
            )
        if not np.isfinite(output).all():
            raise BusbenchError(
                "model-failed",
                f"{self.path.name} gave NaN or infinite values.",
                "Look at the training: the network diverged, or fp16 overflowed.",
            )
        maps: NDArray[np.float32] = output[:, 0].astype(np.float32, copy=False)
        return maps

    def _failed(self, verb: str, error: BaseException) -> BusbenchError:
        line = str(error).strip().splitlines()[0][:300] if str(error).strip() else "no reason given"
        return BusbenchError(
            "model-failed",
            f"{self.path.name} cannot be {verb} by ONNX Runtime {self.version}: {line}.",
            "Load it with the same ONNX Runtime version on your side first.",
        )
