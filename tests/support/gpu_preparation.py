"""Networks and maps of the tests on a GPU, made in the background while tests run.

`Networks.begin` starts one process that has all of it done, the cheap networks first, and a test
waits for what it needs. Some processes export, and one in each precision runs every network, so
that the device is started once: a precision is a process's. What crashes or hangs fails its own
tests alone; see `benchmarks.workers`.
"""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.workers import Jobs, Pool, Worker
from evaluator.documents.inference import Device, Precision
from evaluator.files import write_atomically
from evaluator.inference.backends import InferSettings, open_model
from reference_models.export import export_network
from tests.support import ROOT
from tests.support.gpu_networks import (
    PRECISIONS,
    companies,
    environment,
    settled,
    some_inputs,
)

SECONDS = 60  # of a network's export, and of its maps in one precision
ENDED = "ended"  # a file: nothing more will be made
COMMAND = [sys.executable, "-W", "ignore", "-m", "tests.support.gpu_preparation"]


@dataclass(frozen=True)
class Networks:
    """The files and maps in a folder, some of them still to come."""

    folder: Path

    @classmethod
    def begin(cls, folder: Path, device: Device, names: Sequence[str], *, watched: int) -> Networks:
        """Have them made in the background, until the process `watched` ends."""
        folder.mkdir()
        with (folder / "log").open("w") as log:
            subprocess.Popen(
                [*COMMAND, str(folder), device, str(watched), *names],
                cwd=ROOT,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return cls(folder)

    def onnx(self, name: str) -> Path:
        """A network's file."""
        return self._made(f"{name}.onnx")

    def of_cpu(self, name: str) -> NDArray[np.float32]:
        """The maps (N, 1, H, W) of `some_inputs` on the CPU."""
        (found,) = np.load(self._made(f"{name}.npy"))
        return np.asarray(found)

    def maps(self, name: str, precision: Precision) -> NDArray[np.float32]:
        """The maps (batches, N, 1, H, W) of `companies` on the device."""
        found: NDArray[np.float32] = np.load(self._made(f"{name}-{precision}.npy"))
        return found

    def _made(self, file: str) -> Path:
        path, failure = self.folder / file, self.folder / f"{Path(file).stem}.failed"
        ended = self.folder / ENDED
        while not path.exists():
            if failure.exists() or ended.exists():
                reason = failure.read_text() if failure.exists() else "nothing was left of it"
                log = (self.folder / "log").read_text()[-3000:]
                raise AssertionError(f"{file}: {reason}; the log ends with\n{log}")
            time.sleep(0.05)
        return path


async def prepare(folder: Path, device: Device, names: Sequence[str]) -> None:
    """Write networks and their maps; what fails has a file that says how."""
    precisions = PRECISIONS if device != "cpu" else PRECISIONS[:1]
    command = [*COMMAND, str(folder)]
    used = asyncio.Lock()
    exporters = [Worker(command, used, {}) for _ in range(max(1, (os.cpu_count() or 1) // 3))]
    running = {precision: Worker(command, used, {}) for precision in precisions}
    pool = Pool(exporters)

    async def do(worker: Worker, job: str, stem: str) -> bool:
        failure = await worker.do(job, SECONDS if device != "cpu" else 10 * SECONDS)
        if failure is not None:
            (folder / f"{stem}.failed").write_text(failure)
        return failure is None

    async def export_in_turn(name: str) -> bool:
        async with pool.free() as worker:
            return await do(worker, name, name)

    async def run_all(precision: Precision) -> None:
        for name in names:
            stem = f"{name}-{precision}"
            if await exported[name]:
                await do(running[precision], f"{name} {precision} {device}", stem)
            else:
                (folder / f"{stem}.failed").write_text("its export failed")

    exported = {name: asyncio.create_task(export_in_turn(name)) for name in names}
    try:
        await asyncio.gather(*map(run_all, precisions), *exported.values())
    finally:
        await asyncio.gather(*(worker.stop() for worker in (*exporters, *running.values())))
        (folder / ENDED).touch()


def export(folder: Path, name: str) -> None:
    """Write a network, and its maps on the CPU."""
    made = export_network(settled(name), torch.from_numpy(some_inputs(name, 5)), {})
    write_atomically(folder / f"{name}.onnx", made.data)
    run(folder, name, InferSettings(threads=2), [some_inputs(name)], file=f"{name}.npy")


def run(
    folder: Path,
    name: str,
    settings: InferSettings,
    batches: Iterable[NDArray[np.float32]],
    *,
    file: str,
) -> None:
    """Write the maps (batches, N, 1, H, W) of some batches."""
    with closing(open_model(folder / f"{name}.onnx", settings)) as model:
        maps = np.stack([model.run(batch) for batch in batches])
    buffer = io.BytesIO()
    np.save(buffer, maps)
    write_atomically(folder / file, buffer.getvalue())


def work(folder: Path) -> None:
    """Do jobs: a network's name to export it, or name, precision and device to run it."""
    jobs = Jobs()
    torch.set_num_threads(2)
    for job in jobs:
        name, *how = job.split()
        if not how:
            export(folder, name)
            continue
        precision, device = how
        settings = InferSettings(device=device, precision=precision)  # type: ignore[arg-type]
        run(folder, name, settings, companies(name), file=f"{name}-{precision}.npy")


async def watch(process: int, preparing: asyncio.Task[None]) -> None:
    """End what is prepared with the process that it is prepared for."""
    while not preparing.done() and Path(f"/proc/{process}").exists():
        await asyncio.wait([preparing], timeout=1)
    preparing.cancel()
    await asyncio.wait([preparing])


async def main() -> None:
    folder, device, watched, *names = sys.argv[1:]
    preparing = asyncio.create_task(prepare(Path(folder), device, names))  # type: ignore[arg-type]
    await watch(int(watched), preparing)


if __name__ == "__main__":
    asyncio.run(main()) if len(sys.argv) > 2 else work(Path(sys.argv[1]))
