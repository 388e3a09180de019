"""Cost of the harness per job, and its limits: the figures of docs/scale.md.

    python -m benchmarks.scale [overhead] [jobs] [ledger] [scheduler]

Trivial jobs write one line and its result file. `overhead` needs a Docker engine, the others the
extra `cluster`.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from typing import Any

from distributed import Client
from docker.types import Mount

from benchmarks.made import make_report
from benchmarks.timing import head, machine, row, seconds
from evaluator.progress import Progress, quiet
from harness.challenge import Challenge, Images, Limits
from harness.execution import Chain, open_executor, run_chains
from harness.execution.dask_executor import do
from harness.execution.job import key_of, run_once, write_result
from harness.ledger import append, sign
from harness.sandbox import Stage
from harness.sandbox.cached import Context
from harness.sandbox.docker_runner import DockerRunner
from harness.sandbox.profile import container_settings
from harness.sandbox.sources import base_name
from harness.sealing.keys import Keys

TURNS = {0: 15, 10: 5}  # seconds that a container sleeps -> how often it is measured
WORKERS, TRIVIAL = (1, 2, 4), 200
WRITERS, APPENDS = 8, 25
QUEUED = 100_000


@dataclass(frozen=True)
class Trivial:
    """A job that writes a line."""

    name: str
    folder: Path
    kind = "trivial"
    gpu = False
    stage = None

    @property
    def label(self) -> str:
        return self.name

    @property
    def key(self) -> str:
        return key_of(name=self.name)

    @property
    def result(self) -> Path:
        return self.folder / f"{self.name}.json"

    def run(self, progress: Progress) -> None:
        (self.folder / self.name).write_text(self.name)
        write_result(self, {self.name: self.folder / self.name})


@dataclass(frozen=True)
class Sleeping(Trivial):
    """A job of one container that sleeps."""

    seconds: int = 0

    @property
    def container(self) -> Stage:
        return Stage(
            name="gate",
            component="infer",
            image=base_name(Images()),
            command=("sleep", str(self.seconds)),
            inputs={},
            output=self.folder / f"{self.name}.out",
            limits=Limits(),
        )

    def run(self, progress: Progress) -> None:
        challenge = Challenge()
        Context(DockerRunner(challenge), challenge, progress).run_once(self.container)
        super().run(progress)


def overhead() -> dict[str, float]:
    """Seconds that a job takes beyond the same container without the harness, medians in turn."""
    client = DockerRunner(Challenge()).client
    found = {}
    for pause, turns in TURNS.items():
        bare, ours, spent = [], [], []
        for turn in range(turns):
            with tempfile.TemporaryDirectory() as name:
                job = Sleeping(f"sleep-{turn}", Path(name), pause)
                out = job.folder / "bare"
                out.mkdir(mode=0o777)
                bare.append(seconds(_bare, client, job.container, out))
                before = time.process_time()
                ours.append(seconds(run_once, job, quiet))
                spent.append(time.process_time() - before)
        found[f"bare {pause} s"] = median(bare)
        found[f"harness cpu {pause} s"] = median(spent)
        found[f"overhead {pause} s"] = median(o - b for o, b in zip(ours, bare, strict=True))
    return found


def _bare(client: Any, stage: Stage, out: Path) -> None:
    settings = container_settings(stage, base_name(Images()), "")
    settings["mounts"] = [Mount("/out", str(out), type="bind")]
    container = client.containers.create(**settings)
    container.start()
    container.wait()
    container.remove()


def jobs() -> dict[str, float]:
    """Trivial jobs a minute on so many workers of this machine, their start left out."""
    found = {}
    for workers in WORKERS:
        with (
            tempfile.TemporaryDirectory() as name,
            open_executor(f"local:{workers}", quiet, lambda line: None) as executor,
        ):
            warm = [Chain((Trivial(f"warm-{n}", Path(name)),)) for n in range(4 * workers)]
            run_chains(warm, executor)
            chains = [Chain((Trivial(f"job-{n}", Path(name)),)) for n in range(TRIVIAL)]
            taken = seconds(run_chains, chains, executor)
        found[f"jobs a minute {workers} workers"] = 60 * TRIVIAL / taken
    return found


def ledger() -> dict[str, float]:
    """Appends a second by many writers at once, and what one append costs at the end."""
    with tempfile.TemporaryDirectory() as name:
        keys = Keys.new(Path(name) / "keys")
        path = Path(name) / "ledger.jsonl"
        spawn = multiprocessing.get_context("spawn")  # a fork would copy locks that threads hold
        gate = spawn.Barrier(WRITERS + 1)
        tasks = [(keys.path, path, writer, gate) for writer in range(WRITERS)]
        writers = [spawn.Process(target=_write, args=task) for task in tasks]
        for writer in writers:
            writer.start()
        gate.wait()
        taken = seconds(gate.wait)
        for writer in writers:
            writer.join()
        length = WRITERS * APPENDS
        reports = [sign(make_report(f"one-{n}"), keys) for n in range(5)]
        one = median(seconds(append, path, report, keys) for report in reports)
        size = path.stat().st_size / (length + len(reports))
    found = {"appends a second": length / taken, "ledger entries": float(length)}
    return found | {"append seconds at that length": one, "ledger bytes an entry": size}


def _write(  # noqa: PLR0917  a process gets its arguments by position
    keys: Path, path: Path, writer: int, gate: Barrier
) -> None:
    opened = Keys.open(keys)
    signed = [sign(make_report(f"{writer}-{number}"), opened) for number in range(APPENDS)]
    gate.wait()
    for report in signed:
        append(path, report, opened)
    gate.wait()


def scheduler() -> dict[str, float]:
    """Memory of a Dask scheduler without workers before and with so many queued jobs."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ("--host", "127.0.0.1", "--port", str(port), "--no-dashboard", "--no-show")
    process = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", *words], stderr=subprocess.DEVNULL
    )
    try:
        with Client(f"tcp://127.0.0.1:{port}", timeout=120) as client:
            before, begun = _memory(process.pid), time.monotonic()
            futures = [
                client.submit(do, Trivial(f"job-{n}", Path("out")), key=f"job-{n}", pure=False)
                for n in range(QUEUED)
            ]
            while client.run_on_scheduler(_tasks) < QUEUED:
                time.sleep(1)
            taken, after = time.monotonic() - begun, _memory(process.pid)
            del futures
    finally:
        process.kill()
        process.wait()
    found = {"scheduler mb idle": before, "scheduler mb queued": after}
    return found | {"queued jobs": float(QUEUED), "seconds to queue": taken}


def _tasks(dask_scheduler: Any) -> int:
    return len(dask_scheduler.tasks)


def _memory(process: int) -> float:
    """Resident megabytes of a process."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


PARTS = {part.__name__: part for part in (overhead, jobs, ledger, scheduler)}


if __name__ == "__main__":
    print(f"{machine()}\n\n{head('what', 'figure')}", flush=True)
    for chosen in sys.argv[1:] or PARTS:
        for what, figure in PARTS[chosen]().items():
            print(row(what, f"{figure:,.3g}"), flush=True)
