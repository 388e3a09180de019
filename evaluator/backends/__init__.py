"""Inference backends: each turns a batch of inputs into a batch of maps, and says where it ran.

`open_model` is the way in; `BACKENDS` is the table of what there is. A backend's packages are
imported only when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from evaluator.backends.triton_server import TritonOptions
from evaluator.errors import BusbenchError, Code

Backend = Literal["onnxruntime", "triton"]
Device = Literal["cpu", "cuda", "tensorrt"]


@dataclass(frozen=True)
class InferSettings:
    """How to run: nothing here changes a mask, apart from the device's arithmetic.

    Args:
        device: `tensorrt` is a CUDA device through TensorRT's engine.
        threads: of the CPU, for one model.
        batch_size: images a run; `auto` measures what is fastest.
        triton: where the server is; nothing to the other backend.
    """

    device: Device = "cpu"
    threads: int = 1
    batch_size: int | Literal["auto"] = "auto"
    backend: Backend = "onnxruntime"
    triton: TritonOptions = field(default_factory=TritonOptions)


class Model(Protocol):
    """One loaded ONNX file."""

    backend: Backend
    version: str  # of the backend
    provider: str  # what really runs it, in the backend's words
    in_flight: int  # how many `run` calls may be under way at once

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps (N, K, H, W) of inputs (N, C, H, W), both float32; from any thread.

        Raises:
            BusbenchError: `model-failed` where the model does.
        """

    def close(self) -> None:
        """Give back what the model holds; it is not run again."""


def _onnxruntime(path: Path, settings: InferSettings) -> Model:
    from evaluator.backends.onnxruntime import OnnxRuntimeModel  # noqa: PLC0415

    return OnnxRuntimeModel(path, settings)


def _triton(path: Path, settings: InferSettings) -> Model:
    try:
        from evaluator.backends.triton import TritonModel  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise BusbenchError(
            Code.EXTRA_MISSING,
            "The backend triton needs tritonclient.",
            "Install busbench[triton].",
        ) from error
    return TritonModel(path, settings)


BACKENDS: Mapping[str, Callable[[Path, InferSettings], Model]] = {
    "onnxruntime": _onnxruntime,
    "triton": _triton,
}


def open_model(path: Path, settings: InferSettings) -> Model:
    """Load the ONNX file at `path` with the backend that `settings` name.

    Raises:
        BusbenchError: `model-failed` where it cannot be loaded, `device-unavailable` where the
            device asked for is not the one that would run it.
    """
    return BACKENDS[settings.backend](path, settings)
