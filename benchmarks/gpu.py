"""Speed of every reference network on a GPU, beside PyTorch's: one table.

Run from the project's root: `python -m benchmarks.gpu`. One process a precision measures network
after network, and one the whole stage; others export and compile ahead on the processor. Nothing
waits for all: what is ready is measured, the networks that are asked for most before the rest.
Each job has a time limit: what fails or takes too long costs no other its line, and when `--budget`
is used up the table has what there is. Progress goes to standard error, the section in Markdown to
standard output; `--out` keeps it, and each measurement as a line of JSON, as they come.
`--device cpu` runs the same code where there is no GPU:
`--device cpu --size 64 --networks unext --cases 40 --seconds 0.2`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, get_args

from benchmarks.gpu_parts import FLOATS, MEASUREMENTS
from benchmarks.gpu_prepare import Settings
from benchmarks.timing import head, machine, row
from benchmarks.workers import Pool, Worker
from evaluator.documents.inference import Precision
from evaluator.files import write_atomically
from evaluator.inference.hardware import device_name
from reference_models.networks import NETWORKS

# What is asked for most comes first, should the time not suffice for all.
FIRST = ("unet", "unext", "cmunext")
VARIANTS = ("cmunext_s", "cmunext_l", "ukan_s")  # of other widths
STAGE = "stage"  # the process of whole stages: without PyTorch, whose memory would count
LIMITS = {"start": 60.0, "seal": 60.0, "export": 90.0, "compile": 90.0}  # seconds of a job
COLUMNS = {
    **{f"ours {precision}": (precision, "ours") for precision in get_args(Precision)},
    **{f"eager {precision}": (precision, "eager") for precision in FLOATS},
    **{f"compiled {precision}": (precision, "compiled") for precision in FLOATS},
    "stage": ("fp32", "stage"),
    "stage / ours": ("fp32", "stage / ours"),
    "alone, ms": ("fp32", "latency"),
    "GPU, MiB": ("fp32", "memory"),
}
NOTES = """{date}; {name}; host: {host}.

Images/s at batch {batch}, {size} x {size}, of fresh weights; medians of five turns of {seconds:g} s
together. Ours: batches that are ready, through the evaluator's backend. Eager, compiled: PyTorch,
in fp16 with channels last. All copy images from the host and maps back; the first networks are
measured while other cores export and compile the rest. In fp32, too, when they have finished:
stage, from the sealed archive to packed masks with {threads} threads, without start-up; its ratio
to ours just after; latency alone at batch 1; memory of the stage, in a process that runs all of
them. A dash was not measured."""


class Part(NamedTuple):
    """A network, and the process that measures it: a precision's or the stage's."""

    name: str
    process: str

    @property
    def compiling(self) -> str:
        """The job that compiles it ahead, where there is one."""
        return f"compile {self.name} {self.process}"


class Measuring:
    """All processes and their jobs; `run` ends when all is measured."""

    def __init__(self, args: argparse.Namespace, settings: Settings) -> None:
        self._args, self._device = args, asyncio.Lock()
        self._settings, self._began = settings, time.monotonic()
        precisions = get_args(Precision) if args.device == "cuda" else ("fp32",)
        self._measuring = {process: self._worker() for process in (*precisions, STAGE)}
        first = [name for name in args.networks if name in FIRST]
        rest = [name for name in args.networks if name not in FIRST]
        self._parts = [Part(name, process) for name in first + rest for process in self._measuring]
        self._prepared: dict[str, asyncio.Task[bool]] = {}
        self._workers = [*self._measuring.values()]

    async def run(self) -> None:
        """Prepare and measure; cancelled when the time is over."""
        try:
            self._begin_preparing()
            started = (self._do(w, f"start {p}") for p, w in self._measuring.items())
            await asyncio.gather(*started)
            while self._parts:
                await self._next()
        finally:
            for task in self._prepared.values():
                task.cancel()
            await asyncio.gather(*(worker.stop() for worker in self._workers))

    def _begin_preparing(self) -> None:
        cores = os.cpu_count() or 1
        exporting = min(len(self._args.networks), max(1, cores // 2 - 1))
        pool = Pool([self._ahead() for _ in range(exporting)])
        names = [*dict.fromkeys(part.name for part in self._parts)]
        for job in (f"export {names[0]}", "seal", *(f"export {name}" for name in names[1:])):
            self._prepared[job] = asyncio.create_task(self._in_turn(pool, job))
        compiled = [p for p in self._parts if p.name in self._args.compiled and p.process in FLOATS]
        for job in (part.compiling for part in compiled):
            threads = {"TORCHINDUCTOR_COMPILE_THREADS": f"{max(1, cores // len(compiled))}"}
            self._prepared[job] = asyncio.create_task(self._do(self._ahead(**threads), job))

    def _ahead(self, **variables: str) -> Worker:
        """A worker that prepares: what is measured has the processor before it."""
        self._workers.append(self._worker("nice", "-n", "10", **variables))
        return self._workers[-1]

    def _worker(self, *before: str, **variables: str) -> Worker:
        settings = json.dumps(asdict(self._settings), default=str)
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.gpu_parts", settings]
        cache = {"TORCHINDUCTOR_CACHE_DIR": str(self._settings.folder / "compiled")}
        return Worker([*before, *command], self._device, variables | cache)

    async def _in_turn(self, pool: Pool, job: str) -> bool:
        async with pool.free() as worker:
            return await self._do(worker, job)

    async def _do(self, worker: Worker, job: str) -> bool:
        """Have a job done, and say how long it took or how it failed."""
        began = time.monotonic()
        limit = LIMITS.get(job.partition(" ")[0], self._args.limit)
        failure = await worker.do(job, limit)
        now = time.monotonic()
        words = f"[{now - self._began:5.1f} s] {job}: {failure or f'{now - began:.1f} s'}"
        print(words, file=sys.stderr, flush=True)
        return failure is None

    async def _next(self) -> None:
        """Measure the first part that can be, or wait until something more is prepared."""
        failed = {name for name, _ in self._parts if self._made(f"export {name}") is False}
        self._parts = [part for part in self._parts if part.name not in failed]
        part = next(filter(self._is_ready, self._parts), None)
        if part is None:
            under_way = [task for task in self._prepared.values() if not task.done()]
            if under_way:
                await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            return
        self._parts.remove(part)
        worker, what = self._measuring[part.process], f"measure {' '.join(part)}"
        if part.process == STAGE:
            what = f"stage {part.name}"
        elif part.compiling in self._prepared and self._made(part.compiling):
            what = f"measure-compiled {' '.join(part)}"
        async with self._device:
            if not await self._do(worker, what):  # the next one's limit is not for starting
                await self._do(worker, f"start {part.process}")
        write_atomically(self._args.out / "gpu.md", section(self._args).encode())

    def _is_ready(self, part: Part) -> bool:
        """Whether nothing is missing; on the CPU, and for a stage, nothing else may be at work."""
        needed = [f"export {part.name}", part.compiling]
        alone = part.process == STAGE or self._args.device == "cpu"
        return all(self._made(job) is not None for job in (self._prepared if alone else needed))

    def _made(self, job: str) -> bool | None:
        """Whether a preparation succeeded; None: it has not ended. One not asked for has."""
        task = self._prepared.get(job)
        return True if task is None else task.result() if task.done() else None


def main() -> int:
    args = parse()
    if args.device != "cpu" and device_name(args.device) == "unknown":
        print("No CUDA device works here: --device cpu tries the code.", file=sys.stderr)
        return 1
    args.out.mkdir(parents=True, exist_ok=True)
    kept = args.out / MEASUREMENTS
    kept.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        asyncio.run(within_budget(args, Path(scratch)))
    print(section(args))
    return 0 if kept.exists() else 1


def parse() -> argparse.Namespace:
    others = [name for name in NETWORKS if name not in (*FIRST, *VARIANTS)]
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=[*FIRST, *others])
    parser.add_argument("--compiled", nargs="*", choices=NETWORKS, default=["unet", "cmunext"])
    parser.add_argument("--seconds", type=float, default=0.5, help="of each candidate")
    parser.add_argument("--limit", type=float, default=30.0, help="seconds of a part of the table")
    parser.add_argument("--budget", type=float, default=220.0, help="seconds of all of it")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--cases", type=int, help="of the stage, instead of what suits a network")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "build")))
    return parser.parse_args()


async def within_budget(args: argparse.Namespace, scratch: Path) -> None:
    """Measure until all is measured, the time is used up, or somebody ends it."""
    names = [field for field in Settings.__dataclass_fields__ if field != "folder"]
    settings = Settings(folder=scratch, **{name: getattr(args, name) for name in names})
    measuring = asyncio.create_task(Measuring(args, settings).run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, measuring.cancel)
    try:
        await asyncio.wait_for(measuring, args.budget)
    except asyncio.CancelledError:
        sys.exit(143)  # as a process that the signal ended
    except TimeoutError:
        print(f"The budget of {args.budget:g} s is used up.", file=sys.stderr)


def section(args: argparse.Namespace) -> str:
    """The section in Markdown, of what has been measured so far."""
    kept = args.out / MEASUREMENTS
    lines = kept.read_text().splitlines() if kept.exists() else []
    found = {(o["network"], o["precision"], o["what"]): o["value"] for o in map(json.loads, lines)}
    notes = NOTES.format(
        date=f"{datetime.now(UTC):%-d %B %Y}",
        name=device_name(args.device),
        host=machine("onnxruntime" if args.device == "cpu" else "onnxruntime-gpu", "torch"),
        threads=os.cpu_count(),
        **vars(args),
    )
    table = [
        row(name, *(_cell(found.get((name, *place), "–")) for place in COLUMNS.values()))
        for name in args.networks
    ]
    return "\n".join(["## On a GPU", "", notes, "", head("network", *COLUMNS), *table])


def _cell(value: float | str | None) -> str:
    if value is None:
        return "failed"
    return value if isinstance(value, str) else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
