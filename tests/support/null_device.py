"""A device that is none: the CPU computes, and it has the habits that are asked of it.

`python -m tests.support.null_device infer ...` is the infer stage on one that lowers logits in
float16; `plug_into_stages` lets the process runner start it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from evaluator.__main__ import main
from evaluator.documents.inference import Backend
from evaluator.errors import BusbenchError, Code
from evaluator.inference import infer as stage
from evaluator.inference.backends import InferSettings, model_failed
from evaluator.inference.backends.half import in_half
from harness.sandbox import process_runner

Maps = NDArray[np.float32]
Habit = Callable[[Maps, Maps], Maps]  # from a batch and its maps to the maps that it gives


@dataclass
class NullModel:
    """A model on such a device; see `evaluator.inference.backends.Model`."""

    session: onnxruntime.InferenceSession
    device: NullDevice
    backend: Backend = "onnxruntime"
    version: str = onnxruntime.__version__
    provider: str = "CUDAExecutionProvider"
    in_flight: int = 2
    one_by_one: bool = False

    def run(self, batch: Maps) -> Maps:
        self.device.sizes.append(len(batch))
        if len(batch) > self.device.fits:
            raise model_failed("0.onnx", "run", "a null device", reason="out of memory")
        # each image by itself: what the CPU makes of a batch is no matter here
        name = self.session.get_inputs()[0].name
        maps = np.concatenate([self.session.run(None, {name: each[None]})[0] for each in batch])
        return self.device.habit(batch, maps)

    def close(self) -> None:
        """Nothing to release."""


@dataclass
class NullDevice:
    """What all runs there have in common."""

    habit: Habit = lambda batch, maps: maps
    half: float = 0.0  # by which logits in float16 are lower
    fits: int = 1000  # images that its memory suffices for
    sizes: list[int] = field(default_factory=list)  # of the batches of all runs

    def open(self, path: Path, settings: InferSettings) -> NullModel:
        if settings.device == "cpu":
            raise BusbenchError(Code.DEVICE_UNAVAILABLE, "This is no CPU.", "Ask for cuda.")
        if settings.precision != "fp16":
            return NullModel(onnxruntime.InferenceSession(path.read_bytes()), self)
        lowered = replace(self, habit=lambda batch, maps: self.habit(batch, maps) - self.half)
        return NullModel(onnxruntime.InferenceSession(in_half(path)), lowered)

    def plug_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the infer stage of this process find it."""
        monkeypatch.setattr(stage, "open_model", self.open)


def plug_into_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let stages that ask for a device find it in their own processes."""
    monkeypatch.setitem(process_runner.MODULES, "infer-gpu", "tests.support.null_device")


if __name__ == "__main__":
    stage.open_model = NullDevice(half=1.9).open  # type: ignore[attr-defined]
    sys.exit(main())
