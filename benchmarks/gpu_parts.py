"""Jobs of `benchmarks.gpu`, each of which prepares a network or measures it.

`python -m benchmarks.gpu_parts SETTINGS` does them as `benchmarks.workers` gives them.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from statistics import median
from typing import Any

import torch

from benchmarks.gpu_prepare import Settings, export, network, seal, start
from benchmarks.workers import Jobs
from evaluator.documents.inference import Precision
from evaluator.errors import BusbenchError
from evaluator.inference.backends import open_model

MEASUREMENTS = "gpu.jsonl"
TURNS = 5  # of each candidate
FLOATS: Mapping[Precision, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16}
Call = Callable[[], object]


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
    notes.add("stage", rate)
    if found.latency_ms is not None:
        notes.add("latency", found.latency_ms)
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

    found = {"eager": through(made)}
    if compiled is not None:
        backend = partial(_by_inductor, then=compiled)
        found["compiled"] = through(torch.compile(made, backend=backend))
    return found


def _by_inductor(
    graph: torch.fx.GraphModule, inputs: list[torch.Tensor], *, then: Callable[[], None]
) -> Any:
    from torch._inductor.compile_fx import compile_fx  # noqa: PLC0415  takes seconds

    compiled = compile_fx(graph, inputs)
    then()
    return compiled


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
