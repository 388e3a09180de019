"""Jobs of `benchmarks.gpu`, each of which prepares a network or measures it.

`python -m benchmarks.gpu_parts SETTINGS` does them as `benchmarks.workers` gives them.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.workers import Jobs
from evaluator.documents.inference import Device, Precision
from evaluator.errors import BusbenchError
from evaluator.inference.backends import InferSettings, open_model
from reference_models.networks import build

MEASUREMENTS = "gpu.jsonl"
TURNS = 5  # of each candidate
# Cases that take a stage about a second; others have `SOME`.
CASES = {"unext": 2000, "cmunext": 1000}
SOME = 400
FLOATS: Mapping[Precision, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16}
Call = Callable[[], object]


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


class Notes:
    """Measurements of a network in a precision, kept and printed as they come."""

    def __init__(self, settings: Settings, name: str, precision: Precision = "fp32") -> None:
        self._file, self._name, self._precision = settings.out / MEASUREMENTS, name, precision
        self._failed: list[str] = []

    def add(self, what: str, value: float) -> None:
        self._keep(what, value)
        print(f"  {self._name} {self._precision}: {what} {value:.4g}", flush=True)

    def failed(self, what: str, error: Exception) -> None:
        self._keep(what, None)
        self._failed.append(what)
        reason = str(error).strip().splitlines()[0][:200]
        print(f"  {self._name} {self._precision}: {what} failed: {reason}", flush=True)

    def _keep(self, what: str, value: float | None) -> None:
        line = {"network": self._name, "precision": self._precision, "what": what, "value": value}
        with self._file.open("a") as kept:
            kept.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """End this process where something failed: CUDA may fail for good once it has."""
        if self._failed:
            sys.exit(f"  a new process goes on after {', '.join(self._failed)}")


def start(settings: Settings, process: str) -> None:
    """Import what a process will need, and start the device in its precision."""
    from benchmarks.made import echo  # noqa: PLC0415

    if process not in get_args(Precision):
        from evaluator.inference.infer import infer  # noqa: F401, PLC0415
    precision: Precision = process if process in get_args(Precision) else "fp32"  # type: ignore[assignment]
    path = settings.folder / f"{process}.onnx"
    path.write_bytes(echo())
    with closing(open_model(path, settings.infer(precision))) as model:
        model.run(np.zeros((1, 1, 8, 8), np.float32))


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


def compile_ahead(
    settings: Settings, name: str, precision: Precision, *, then: Callable[[], None]
) -> None:
    """Fill the compiler's cache for a network, and run it once."""
    peers(settings, name, precision, compiled=then)["compiled"]()


def measure(settings: Settings, name: str, precision: Precision, *, compiled: bool = False) -> None:
    """Measure batches that are ready, of our backend and of PyTorch in turns."""
    notes, batch = Notes(settings, name, precision), settings.some_batch()
    with closing(open_model(settings.model(name, precision), settings.infer(precision))) as model:
        candidates: dict[str, Call] = {"ours": lambda: model.run(batch)}
        if precision in FLOATS:
            compiler = (lambda: None) if compiled else None
            candidates |= peers(settings, name, precision, compiled=compiler)
        for what, runs in race(settings, notes, candidates).items():
            notes.add(what, runs * settings.batch)
    notes.close()
    candidates.clear()
    torch.compiler.reset()
    gc.collect()
    if settings.device != "cpu":
        torch.cuda.empty_cache()


def stage(settings: Settings, name: str) -> None:
    """Measure a whole infer stage as it measures itself, and our backend just after."""
    from evaluator.documents.base import read  # noqa: PLC0415
    from evaluator.documents.inference import GateVerdict, Runtime  # noqa: PLC0415
    from evaluator.errors import Code  # noqa: PLC0415
    from evaluator.inference.infer import infer  # noqa: PLC0415
    from evaluator.predictions import RUNTIME  # noqa: PLC0415

    cases, notes = settings.cases_of(name), Notes(settings, name)
    folder, sealed = settings.folder / name, settings.folder / f"{cases}-cases"
    images, key, out = sealed / "images.age", sealed / "images.key", folder / "out"
    again = {"remedy": "Run it again."}
    verdict = read(GateVerdict, folder / "gate.json", Code.STAGE_CRASHED, **again)
    how = settings.infer()
    out.mkdir()
    try:
        infer(folder / "submission", verdict, out, images=images, key=key, settings=how)
    except BusbenchError as error:
        notes.failed("stage", error)
        notes.close()
    found = read(Runtime, out / RUNTIME, Code.STAGE_CRASHED, **again).measured
    rate = cases / found.seconds
    notes.add("latency", found.latency_ms)
    notes.add("stage", rate)
    if found.gpu_memory_mb is not None and found.gpu_memory_of == "process":
        notes.add("memory", found.gpu_memory_mb)
    batch = settings.some_batch()
    with closing(open_model(settings.model(name), how)) as model:
        ours = race(settings, notes, {"ours": lambda: model.run(batch)})
    notes.close()
    notes.add("stage / ours", rate / (ours["ours"] * settings.batch))


def race(settings: Settings, notes: Notes, candidates: Mapping[str, Call]) -> dict[str, float]:
    """Median runs a second of each candidate, in turns; what fails is noted and left out."""
    able = {}
    for name, call in candidates.items():
        try:
            for _ in range(3):
                call()
            able[name] = call
        except (RuntimeError, ValueError, BusbenchError) as error:
            notes.failed(name, error)
    rates: dict[str, list[float]] = {name: [] for name in able}
    for _ in range(TURNS):
        for name, call in able.items():
            rates[name].append(_rate(call, settings.seconds / TURNS))
    return {name: median(found) for name, found in rates.items()}


def _rate(call: Call, seconds: float) -> float:
    """Runs a second, over at least so many seconds."""
    runs, start = 0, time.perf_counter()
    while (taken := time.perf_counter() - start) < seconds:
        call()
        runs += 1
    return runs / taken


def peers(
    settings: Settings, name: str, precision: Precision, *, compiled: Callable[[], None] | None
) -> dict[str, Call]:
    """The same network in PyTorch, as fast as it gets without work of one's own.

    Args:
        compiled: called when it is compiled, before it is run for the first time; None: it is not.
    """
    device, dtype = settings.device, FLOATS[precision]
    half = dtype == torch.float16
    layout = torch.channels_last if half else torch.contiguous_format
    torch.backends.cudnn.benchmark, torch.backends.cudnn.allow_tf32 = True, half
    made = network(settings, name).eval().to(device, dtype)
    made = made.to(memory_format=layout)  # type: ignore[call-overload]
    here = torch.from_numpy(settings.some_batch())
    here = here if device == "cpu" else here.pin_memory()

    def through(network: Callable[[torch.Tensor], torch.Tensor]) -> Call:
        def run() -> object:
            with torch.inference_mode():
                there = here.to(device, non_blocking=True).to(dtype, memory_format=layout)
                return network(there).float().cpu()

        return run

    def by_inductor(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Any:
        from torch._inductor.compile_fx import compile_fx  # noqa: PLC0415

        result = compile_fx(graph, inputs)
        compiled()
        return result

    found = {"eager": through(made)}
    if compiled is not None:
        found["compiled"] = through(torch.compile(made, backend=by_inductor))
    return found


def network(settings: Settings, name: str) -> torch.nn.Module:
    """The network, always with the same fresh weights."""
    torch.manual_seed(0)
    return build(name, image_size=settings.size)


def main() -> None:
    jobs, settings = Jobs(), Settings.of(sys.argv[1])
    work: Mapping[str, Callable[..., None]] = {
        "start": start,
        "seal": seal,
        "export": export,
        "compile": partial(compile_ahead, then=jobs.wait_for_device),
        "measure": measure,
        "measure-compiled": partial(measure, compiled=True),
        "stage": stage,
    }
    for job in jobs:
        what, *words = job.split()
        work[what](settings, *words)


if __name__ == "__main__":
    main()
