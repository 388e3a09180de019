"""Speed of every reference network on a GPU, beside PyTorch's: one table.

Run from the project's root: `python -m benchmarks.gpu`. Every network in every precision is
measured in a process of its own, with a time limit of its own; what fails or takes too long costs
no other its line. Progress goes to standard error, the section in Markdown to standard output;
`--out` keeps it, and each measurement as a line of JSON, as they come. `--device cpu` runs the same
code where there is no GPU: `--device cpu --size 64 --networks unext --cases 40 --seconds 0.2`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from benchmarks.gpu_parts import MEASUREMENTS, Part, measure, prepare
from benchmarks.timing import head, machine, row
from evaluator.documents.inference import Precision
from evaluator.files import write_atomically
from evaluator.inference.hardware import device_name
from reference_models.networks import NETWORKS

# What is asked for most comes first, should the time not suffice for all.
FIRST = ("unet", "unext", "cmunext")
VARIANTS = ("cmunext_s", "cmunext_l", "ukan_s")  # of other widths
LIMITS = {"prepare": 90.0, "measure": 40.0}  # seconds of one process
COLUMNS = {
    **{f"ours {precision}": (precision, "ours") for precision in get_args(Precision)},
    **{f"eager {precision}": (precision, "eager") for precision in ("fp32", "fp16")},
    **{f"compiled {precision}": (precision, "compiled") for precision in ("fp32", "fp16")},
    "stage": ("fp32", "stage"),
    "stage / ours": ("fp32", "stage / ours"),
    "alone, ms": ("fp32", "latency"),
    "GPU, MiB": ("fp32", "memory"),
}
NOTES = """{date}; {name}; host: {host}.

Images/s at batch {batch}, {size} x {size}, of fresh weights; medians of five turns of {seconds:g} s
together. Ours: batches that are ready, through the evaluator's backend. Eager, compiled: PyTorch,
in fp16 with channels last. All copy images from the host and maps back. In fp32, too: stage, from
the sealed archive to packed masks with {threads} threads, without start-up; its ratio to ours just
before and after; latency alone at batch 1; memory of the stage. A dash was not measured."""


def main() -> int:
    args = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no process stays behind
    if args.task:
        part = Part(args.networks[0], args.precision, args.folder, args)
        prepare(part) if args.task == "prepare" else measure(part)
        return 0
    if args.device != "cpu" and device_name(args.device) == "unknown":
        print("No CUDA device works here: --device cpu tries the code.", file=sys.stderr)
        return 1
    args.out.mkdir(parents=True, exist_ok=True)
    kept = args.out / MEASUREMENTS
    kept.unlink(missing_ok=True)
    end = time.monotonic() + args.budget
    with tempfile.TemporaryDirectory() as scratch:
        args.folder = Path(scratch)
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{scratch}/compiled"
        with ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // 3)) as pool:
            list(pool.map(lambda name: Process(args, "prepare", name).finish(end), args.networks))
        for _ in measured(args, end):
            write_atomically(args.out / "gpu.md", section(args, kept).encode())
    print(section(args, kept))
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
    parser.add_argument("--budget", type=float, default=220.0, help="seconds of all of it")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--cases", type=int, help="of the stage, instead of what suits a network")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", "build")))
    parser.add_argument("--task", choices=LIMITS, help=argparse.SUPPRESS)
    parser.add_argument(
        "--precision", choices=get_args(Precision), default="fp32", help=argparse.SUPPRESS
    )
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


class Process:
    """A part in a process of its own, which imports what it needs and then waits for its turn."""

    def __init__(self, args: argparse.Namespace, task: str, name: str, *more: str) -> None:
        self.what, self._limit = " ".join((task, name, *more)), LIMITS[task]
        words = [f"--task={task}", f"--folder={args.folder}", *(f"--precision={p}" for p in more)]
        command = [sys.executable, "-W", "ignore", "-m", "benchmarks.gpu", *sys.argv[1:], *words]
        self._process = subprocess.Popen(
            [*command, "--networks", name],
            stdin=subprocess.PIPE,
            stdout=sys.stderr,
            start_new_session=True,  # a compiler's own processes end with it
        )

    def finish(self, end: float) -> None:
        """Let it work, until its time limit or `end` of the monotonic clock."""
        limit = min(self._limit, end - time.monotonic())
        try:
            self._process.communicate(b"go\n", timeout=max(0.0, limit))
        except subprocess.TimeoutExpired:
            print(f"{self.what}: stopped after {max(0.0, limit):.0f} s", file=sys.stderr)
        if status := self._process.poll():
            print(f"{self.what}: failed with status {status}", file=sys.stderr)
        self.stop()

    def stop(self) -> None:
        """Kill it, and what it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


def measured(args: argparse.Namespace, end: float) -> Iterator[None]:
    """Measure part by part; the next process starts beside each, so that no import takes time."""
    precisions = get_args(Precision) if args.device == "cuda" else ("fp32",)
    parts = [(name, precision) for name in args.networks for precision in precisions]
    processes = deque([Process(args, "measure", *parts[0])])
    try:
        for following in [*parts[1:], None]:
            if following is not None:
                processes.append(Process(args, "measure", *following))
            processes[0].finish(end)
            processes.popleft()
            yield
    finally:
        for process in processes:
            process.stop()


def section(args: argparse.Namespace, kept: Path) -> str:
    """The section in Markdown, of what has been measured so far."""
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
