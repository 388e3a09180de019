"""Settings of the jobs of `benchmarks.gpu`, and those jobs that prepare networks and images."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray

from evaluator.documents.inference import Device, Precision
from evaluator.inference.backends import InferSettings, open_model
from reference_models.networks import build

# Cases that take a stage about a second; others have `SOME`.
CASES: Mapping[str, int] = {"unext": 2000, "cmunext": 1000}
SOME = 400


@dataclass(frozen=True)
class Settings:
    """What all jobs of a table have in common.

    Args:
        folder: where networks and sealed images are prepared.
        out: where measurements are kept.
        cases: of every stage; None: what suits a network.
    """

    folder: Path
    out: Path
    device: Device
    size: int
    batch: int
    seconds: float
    cases: int | None

    @classmethod
    def of(cls, text: str) -> Settings:
        """Those in JSON."""
        found = json.loads(text)
        return cls(**found | {name: Path(found[name]) for name in ("folder", "out")})

    def cases_of(self, name: str) -> int:
        """How many there are in a network's stage."""
        return self.cases or CASES.get(name, SOME)

    def infer(self, precision: Precision = "fp32") -> InferSettings:
        """Those of the evaluator."""
        return InferSettings(self.device, os.cpu_count() or 1, self.batch, precision=precision)

    def model(self, name: str, precision: Precision = "fp32") -> Path:
        """A network's file: converted beforehand in fp16, as the evaluator would."""
        folder = self.folder / name
        return folder / "half.onnx" if precision == "fp16" else folder / "submission" / "0.onnx"

    def some_batch(self) -> NDArray[np.float32]:
        """Noise (N, 1, H, W)."""
        shape = (self.batch, 1, self.size, self.size)
        return np.random.default_rng(0).random(shape, np.float32)


def network(settings: Settings, name: str) -> torch.nn.Module:
    """The network, always with the same fresh weights."""
    torch.manual_seed(0)
    return build(name, image_size=settings.size)


def start(settings: Settings, process: str) -> None:
    """Import what a process will need, and start the device in its precision."""
    from reference_models.export import to_onnx  # noqa: PLC0415

    if process not in get_args(Precision):
        from evaluator.inference.infer import infer  # noqa: F401, PLC0415
    precision: Precision = process if process in get_args(Precision) else "fp32"  # type: ignore[assignment]
    path = settings.folder / f"{process}.onnx"
    images = torch.zeros(1, 1, 8, 8)
    path.write_bytes(to_onnx(torch.nn.Conv2d(1, 1, 3), images, {}).SerializeToString())
    with closing(open_model(path, settings.infer(precision))) as model:
        model.run(images.numpy())


def seal(settings: Settings) -> None:
    """Seal phantoms: one archive for each number of cases, whatever the networks."""
    from PIL import Image  # noqa: PLC0415

    from benchmarks import made  # noqa: PLC0415
    from harness.datasets import phantom  # noqa: PLC0415

    raw = settings.folder / "raw"
    phantom.generate(raw, patients=10, seed=1)
    images = [np.asarray(Image.open(path)) for path in sorted((raw / "images").glob("*.png"))]
    for cases in {settings.cases_of(name) for name in ("", *CASES)}:
        folder = settings.folder / f"{cases}-cases"
        folder.mkdir()
        made.seal(folder, (images * (cases // len(images) + 1))[:cases])


def export(settings: Settings, name: str) -> None:
    """Export a network, and convert it to float16; it is compared with nothing."""
    from benchmarks.made import submit  # noqa: PLC0415
    from evaluator.documents.submission import OutputSpec  # noqa: PLC0415
    from evaluator.inference.backends.half import in_half  # noqa: PLC0415
    from reference_models.export import to_onnx  # noqa: PLC0415

    torch.set_num_threads(1)
    images = torch.rand(1, 1, settings.size, settings.size)
    graph = to_onnx(network(settings, name), images, {})
    folder = settings.folder / name
    submit(folder, graph.SerializeToString(), side=settings.size, output=OutputSpec())
    if settings.device != "cpu":
        settings.model(name, "fp16").write_bytes(in_half(settings.model(name)))
