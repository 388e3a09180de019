"""One process of `benchmarks.gpu`: it prepares a network, or measures it in one precision."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from benchmarks.made import seal_images
from evaluator.documents.base import read
from evaluator.documents.inference import GateVerdict, Measured, Precision, Runtime
from evaluator.documents.submission import OutputSpec
from evaluator.errors import BusbenchError, Code
from evaluator.inference.backends import InferSettings, open_model
from evaluator.inference.infer import infer
from evaluator.predictions import RUNTIME
from harness.datasets import phantom
from reference_models.export import export_network
from reference_models.networks import build

MEASUREMENTS = "gpu.jsonl"
TURNS = 5  # of each candidate
# Cases that take a stage about a second; others have `SOME`.
CASES = {"unext": 2000, "cmunext": 1000}
SOME = 400
FLOATS: Mapping[Precision, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16}
Call = Callable[[], object]


@dataclass(frozen=True)
class Part:
    """A network in a precision, the folder where it was prepared, and the words of the command."""

    name: str
    precision: Precision
    root: Path
    args: argparse.Namespace

    @property
    def folder(self) -> Path:
        """Where its sealed images and its submission are."""
        return self.root / self.name

    def note(self, what: str, value: float | None) -> None:
        """Keep and print a measurement; None is a failure."""
        line = {"network": self.name, "precision": self.precision, "what": what, "value": value}
        with (self.args.out / MEASUREMENTS).open("a") as kept:
            kept.write(json.dumps(line) + "\n")
        shown = "failed" if value is None else f"{value:.4g}"
        print(f"{self.name} {self.precision}: {what} {shown}", flush=True)


def cases(part: Part) -> int:
    """How many there are in a stage."""
    found: int = part.args.cases or CASES.get(part.name, SOME)
    return found


def prepare(part: Part) -> None:
    """Export a network, seal images for it, and let PyTorch compile it where it will have to.

    The export is compared with PyTorch for one image alone: its parity is not what is measured.
    """
    args, side = part.args, part.args.size
    torch.set_num_threads(3)
    exported = export_network(network(part), torch.rand(1, 1, side, side), {}).data
    raw = part.root / f"{part.name}-raw"
    phantom.generate(raw, patients=10, seed=1)
    images = [np.asarray(Image.open(path)) for path in sorted((raw / "images").glob("*.png"))]
    chosen = (images * (cases(part) // len(images) + 1))[: cases(part)]
    seal_images(part.folder, chosen, exported, side=side, output=OutputSpec())
    if part.name in args.compiled and args.device == "cuda":
        for precision in FLOATS:
            peers(replace(part, precision=precision), some_batch(args))["compiled"]()


def measure(part: Part) -> None:
    """Measure a network in one precision, once a line has come from standard input."""
    args = part.args
    sys.stdin.readline()
    settings = InferSettings(args.device, os.cpu_count() or 1, args.batch, precision=part.precision)
    staged = part.precision == "fp32"
    alone = stage(part, settings) if staged else None  # first, so that no other's memory counts
    batch = some_batch(args)
    with closing(open_model(part.folder / "submission" / "0.onnx", settings)) as model:
        candidates: dict[str, Call] = {"ours": lambda: model.run(batch)}
        before = race(part, candidates) if staged else {}
        whole = stage(part, settings) if staged else None
        candidates |= peers(part, batch) if part.precision in FLOATS else {}
        found = race(part, candidates)
    for name, runs in found.items():
        part.note(name, runs * args.batch)
    if alone is not None:
        part.note("latency", alone.latency_ms)
        if alone.gpu_memory_mb is not None:
            part.note("memory", alone.gpu_memory_mb)
    if whole is not None:
        loop = (before["ours"] + found["ours"]) / 2 * args.batch
        part.note("stage", cases(part) / whole.seconds)
        part.note("stage / ours", cases(part) / whole.seconds / loop)


def stage(part: Part, settings: InferSettings) -> Measured | None:
    """A whole infer stage, as it measures itself; None, and noted, where it fails."""
    folder, out = part.folder, part.folder / "out"
    verdict = read(GateVerdict, folder / "gate.json", Code.STAGE_CRASHED, remedy="Run it again.")
    images, key = folder / "images.age", folder / "images.key"
    try:
        infer(folder / "submission", verdict, out, images=images, key=key, settings=settings)
    except BusbenchError as error:
        part.note("stage", None)
        print(f"  {error.message}", flush=True)
        return None
    return read(Runtime, out / RUNTIME, Code.STAGE_CRASHED, remedy="Run it again.").measured


def race(part: Part, candidates: Mapping[str, Call]) -> dict[str, float]:
    """Median runs a second of each candidate, in turns; what fails is noted and left out."""
    able = {}
    for name, call in candidates.items():
        try:
            for _ in range(3):
                call()
            able[name] = call
        except (RuntimeError, ValueError, BusbenchError) as error:
            part.note(name, None)
            print(f"  {str(error).strip().splitlines()[0][:200]}", flush=True)
    rates: dict[str, list[float]] = {name: [] for name in able}
    for _ in range(TURNS):
        for name, call in able.items():
            rates[name].append(rate(call, part.args.seconds / TURNS))
    return {name: median(found) for name, found in rates.items()}


def rate(call: Call, seconds: float) -> float:
    """Runs a second, over at least so many seconds."""
    runs, start = 0, time.perf_counter()
    while (taken := time.perf_counter() - start) < seconds:
        call()
        runs += 1
    return runs / taken


def peers(part: Part, batch: NDArray[np.float32]) -> dict[str, Call]:
    """The same network in PyTorch, as fast as it gets without work of one's own."""
    device, dtype = part.args.device, FLOATS[part.precision]
    half = dtype == torch.float16
    layout = torch.channels_last if half else torch.contiguous_format
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = True, half
    made = network(part).eval().to(device, dtype)
    made = made.to(memory_format=layout)  # type: ignore[call-overload]
    here = torch.from_numpy(batch)
    here = here if device == "cpu" else here.pin_memory()

    def through(network: Callable[[torch.Tensor], torch.Tensor]) -> Call:
        def run() -> object:
            with torch.inference_mode():
                there = here.to(device, non_blocking=True).to(dtype, memory_format=layout)
                return network(there).float().cpu()

        return run

    found = {"eager": through(made)}
    if part.name in part.args.compiled:
        found["compiled"] = through(torch.compile(made))
    return found


def network(part: Part) -> torch.nn.Module:
    """The network, always with the same fresh weights."""
    torch.manual_seed(0)
    return build(part.name, image_size=part.args.size)


def some_batch(args: argparse.Namespace) -> NDArray[np.float32]:
    """Noise (N, 1, H, W)."""
    shape = (args.batch, 1, args.size, args.size)
    return np.random.default_rng(0).random(shape, np.float32)
