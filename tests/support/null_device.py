"""A device that is none: the CPU computes, and it has the habits that are asked of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from evaluator.documents.inference import Backend
from evaluator.errors import BusbenchError, Code
from evaluator.inference import infer as stage
from evaluator.inference.backends import InferSettings, model_failed
from evaluator.inference.backends.half import in_half

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
    in_flight: int = 1
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
    fits: int = 1000  # images that its memory suffices for
    sizes: list[int] = field(default_factory=list)  # of the batches of all runs

    def open(self, path: Path, settings: InferSettings) -> NullModel:
        if settings.device == "cpu":
            raise BusbenchError(Code.DEVICE_UNAVAILABLE, "This is no CPU.", "Ask for cuda.")
        data = in_half(path) if settings.precision == "fp16" else path.read_bytes()
        return NullModel(onnxruntime.InferenceSession(data), self)

    def plug_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let the infer stage of this process find it."""
        monkeypatch.setattr(stage, "open_model", self.open)
