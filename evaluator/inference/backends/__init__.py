"""Inference backends: each turns a batch of inputs into a batch of maps, and says where it ran.

`open_model` opens one; `BACKENDS` is the table of what there is. A backend's packages are
imported only when it is asked for, and its modules need not be in an image that never asks.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from evaluator.documents.inference import (
    Backend,
    BatchSize,
    Device,
    EfficiencyLimits,
    Precision,
    require_precision,
)
from evaluator.errors import BusbenchError, Code

_NUMBER = re.compile(r"[-+]?\d[\d.,]*(?:e[-+]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True)
class TritonOptions:
    """Which Triton server is used, and how.

    Args:
        address: `HOST:PORT` of an operator's server; None starts one of our own.
        repository: the folder that the operator's server serves models from, as seen from here.
        executable: `tritonserver`, or the virtual environment that contains it; see
            `evaluator.triton.server.find_server`.
        shared_memory: pass images and maps through it where the server is on this host.
        patience: seconds until the server must be ready.
        seconds: for loading the model, and for one run.
        memory_mb: address space of each process of our own server, on the CPU.
    """

    address: str | None = None
    repository: Path | None = None
    executable: Path | None = None
    shared_memory: bool = True
    patience: float = 60.0
    seconds: float = 300.0
    memory_mb: int = 8192


@dataclass(frozen=True)
class InferSettings:
    """How to run: nothing here changes a mask, apart from the device's arithmetic.

    Args:
        threads: of the CPU, for one model.
        batch_size: images a run; `auto` measures what is fastest.
        triton: where the server is; the other backend ignores it.
        precision: of the device's arithmetic.
        engines: where TensorRT keeps what it has compiled; None: nowhere.
        efficiency: limits that must be checkable on this device; the harness holds results to them.

    Raises:
        BusbenchError: `usage` for a precision that the device does not have.
    """

    device: Device = "cpu"
    threads: int = 1
    batch_size: BatchSize = "auto"
    backend: Backend = "onnxruntime"
    triton: TritonOptions = field(default_factory=TritonOptions)
    precision: Precision = "fp32"
    engines: Path | None = None
    efficiency: EfficiencyLimits | None = None

    def __post_init__(self) -> None:
        require_precision(self.device, self.precision)


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The options of every stage that runs models; `settings_of` reads them."""
    parser.add_argument("--device", choices=get_args(Device), default="cpu")
    parser.add_argument("--backend", choices=get_args(Backend), default="onnxruntime")
    parser.add_argument("--precision", choices=get_args(Precision), default="fp32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch-size", type=_batch_size, default="auto", metavar="N|auto")
    parser.add_argument("--triton", metavar="HOST:PORT", help="a server that runs already")
    parser.add_argument("--triton-repository", type=Path, metavar="PATH", help="its models")
    parser.add_argument("--tritonserver", type=Path, metavar="PATH", help="or one to start")
    parser.add_argument(
        "--efficiency", type=EfficiencyLimits.model_validate_json, metavar="JSON", help="limits"
    )


def settings_of(args: argparse.Namespace) -> InferSettings:
    """The settings on a command line."""
    triton = TritonOptions(args.triton, args.triton_repository, args.tritonserver)
    return InferSettings(
        args.device,
        args.threads,
        args.batch_size,
        args.backend,
        triton,
        args.precision,
        args.out / "engines" if args.device == "tensorrt" else None,
        args.efficiency,
    )


def _batch_size(text: str) -> BatchSize:
    if text != "auto" and not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text} is neither auto nor a number above 0")
    return "auto" if text == "auto" else int(text)


class Model(Protocol):
    """One loaded ONNX file."""

    backend: Backend
    version: str  # of the backend
    provider: str  # what really runs it, in the backend's words
    in_flight: int  # how many `run` calls may be under way at once
    one_by_one: bool  # whether the file takes one image a run, however many `run` is given

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps (N, K, H, W) of inputs (N, C, H, W), both float32; from any thread.

        Raises:
            BusbenchError: `model-failed` where the model does.
        """

    def close(self) -> None:
        """Release what the model uses; it is not run again."""


def _onnxruntime(path: Path, settings: InferSettings) -> Model:
    from evaluator.inference.backends.onnxruntime import OnnxRuntimeModel  # noqa: PLC0415

    return OnnxRuntimeModel(path, settings)


def _triton(path: Path, settings: InferSettings) -> Model:
    try:
        from evaluator.triton.model import TritonModel  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise BusbenchError(
            Code.EXTRA_MISSING,
            "The backend triton needs tritonclient.",
            "Run pip install -e '.[triton]' in your checkout of BUSBench.",
        ) from error
    return TritonModel(path, settings)


BACKENDS: Mapping[Backend, Callable[[Path, InferSettings], Model]] = {
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


def model_failed(file: str, verb: str, runtime: str, *, reason: str) -> BusbenchError:
    """The error of a model that cannot be loaded or run.

    Args:
        verb: `loaded` or `run`.
        runtime: its name and version.
        reason: its message. Of a run it loses its numbers: indices and shapes can be values of a
            hidden image.
    """
    shown = _NUMBER.sub("…", reason) if verb == "run" else reason
    return BusbenchError(
        Code.MODEL_FAILED,
        f"{file} cannot be {verb} by {runtime}: {shown}.",
        "Load it with the same ONNX Runtime version on your side first.",
    )


def device_unavailable(device: str, reason: str, needed: str) -> BusbenchError:
    """The error of a device that is not the one asked for; `needed` is what would bring it."""
    return BusbenchError(
        Code.DEVICE_UNAVAILABLE,
        f"--device {device} was asked for, but {reason}.",
        f"{needed} beside a working CUDA driver, or use --device cpu.",
    )


def first_line(text: str) -> str:
    """The first line of a runtime's message, in bounds and without its full stop."""
    lines = text.strip().splitlines() or ["no reason given"]
    return lines[0][:300].rstrip(".")
