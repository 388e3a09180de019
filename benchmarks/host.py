"""Our own work in the infer stage without a network: alone, and beside a simulated device.

`python -m benchmarks.throughput` prints both.
"""

from __future__ import annotations

import io
import os
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.made import InferInputs, echo, seal_images
from benchmarks.timing import head, machine, race, row
from evaluator.documents.inference import Backend
from evaluator.documents.submission import OutputSpec
from evaluator.inference.backends import Model
from evaluator.inference.batches import DEVICE_BATCH
from evaluator.inference.infer import SOME_MASKS
from evaluator.inference.sweep import LoadedModel, Sweep
from evaluator.sealed import open_sealed
from harness.store import png_bytes

HOST_SIDE, HOST_CASES, HOST_SHAPE = 224, 200, (301, 357)
DEVICES = (0.25, 0.6, 2.7)  # milliseconds an image: UNeXt and U-Net on an H100, and between
DEVICE_CASES = 640
Way = Callable[[], object]


def write_masks(made: InferInputs, models: tuple[LoadedModel, ...], *, helpers: int) -> None:
    """Our sweep, from the sealed archive to packed masks on disk."""
    sweep = Sweep(models=models, submission=made.submission, images=made.images, helpers=helpers)
    with (
        open_sealed(made.images, made.key) as (_, cases),
        (made.out / "masks.bits").open("wb", SOME_MASKS) as sink,
        closing(sweep.masks(cases)) as results,
    ):
        for masks in results:
            sink.writelines(packed for _, packed in masks.packed)


class Free:
    """A network that costs nothing: one lesion, the same for every image."""

    backend: Backend = "onnxruntime"
    version = provider = "none"
    in_flight, one_by_one = 1, False

    def __init__(self, side: int) -> None:
        rows, columns = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
        inside = ((rows + 0.2) / 0.36) ** 2 + (columns / 0.45) ** 2 < 1
        # as much as a device's batch, since a network's maps lie in memory
        self._maps = np.tile(np.where(inside, 0.9, 0.1).astype(np.float32), (DEVICE_BATCH, 1, 1, 1))

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps (N, 1, H, W) of inputs (N, C, H, W)."""
        return self._maps[: len(batch)]

    def close(self) -> None:
        """Do nothing."""


class Simulated(Free):
    """A device that takes a given time for an image, and the host as CUDA's backend does.

    Two batches are under way, one of them on the device. Each is copied to memory that would be
    page-locked, and its maps from there; in between Python's lock is free.

    Args:
        milliseconds: an image.
    """

    in_flight = 2

    def __init__(self, side: int, milliseconds: float) -> None:
        super().__init__(side)
        self.milliseconds, self._device = milliseconds, threading.Lock()
        self._free: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps (N, 1, H, W) of inputs (N, C, H, W)."""
        maps = super().run(batch)
        staged, result = self._free.pop() if self._free else (batch.copy(), maps.copy())
        staged[:] = batch
        with self._device:
            time.sleep(self.milliseconds / 1000 * len(batch))
        found = result.copy()
        self._free.append((staged, result))
        return found


def pillow_loop(pngs: list[bytes], model: Free, sink: Path) -> None:
    """What the sweep does, image by image with Pillow, from PNG that is not even encrypted."""
    with sink.open("wb") as handle:
        for png in pngs:
            image = Image.open(io.BytesIO(png)).convert("L")
            small = image.resize((HOST_SIDE, HOST_SIDE), Image.Resampling.BILINEAR)
            maps = model.run(np.asarray(small, np.float32)[None, None] / np.float32(255))
            if not np.isfinite(maps).all():
                raise ValueError("a map is not finite")
            mask = Image.fromarray(maps[0, 0]).resize(image.size, Image.Resampling.BILINEAR)
            handle.write(np.packbits(np.asarray(mask) > 0.5).tobytes())


def speckle(number: int) -> list[NDArray[np.uint8]]:
    """Images (H, W) of noise, of which the first 20 differ."""
    draw = np.random.default_rng(0)
    images = [draw.gamma(2, 40, HOST_SHAPE).clip(0, 255).astype(np.uint8) for _ in range(20)]
    return (images * number)[:number]


def load(model: Model, made: InferInputs, *, batch_size: int, fixed: bool = False) -> LoadedModel:
    """A model as the one that was submitted."""
    return LoadedModel(
        model=model,
        declared=made.submission.models[0],
        input=made.submission.input,
        output=made.submission.output,
        batch_size=batch_size,
        fixed=fixed,
    )


def host(rounds: int, threads: int) -> None:
    """Print the table of our own work, without a network's."""
    print(f"## Host work of the infer stage\n\n{machine('pillow', 'numba')}.\n")
    print(f"{HOST_CASES} images of {HOST_SHAPE}, a network at {HOST_SIDE} that costs nothing;")
    print(f"{threads} threads on {len(os.sched_getaffinity(0))} cores, {rounds} rounds in turns.\n")
    print(head("way", "ms an image", "CPU ms an image", "Pillow / it", "one model / it", text=1))
    free, images = Free(HOST_SIDE), speckle(HOST_CASES)
    with tempfile.TemporaryDirectory() as name:
        probabilities = OutputSpec(kind="probabilities")
        made = seal_images(Path(name), images, echo(), side=HOST_SIDE, output=probabilities)
        loaded = load(free, made, batch_size=8)
        pngs = [png_bytes(image) for image in images]
        candidates: dict[str, Way] = {
            "Pillow, one thread": lambda: pillow_loop(pngs, free, made.out / "pillow.bits"),
            **{
                f"BUSBench, {number} model{'s' * (number > 1)}": partial(
                    write_masks, made, (loaded,) * number, helpers=threads
                )
                for number in (1, 5)
            },
        }
        race(candidates, 1)
        laps = race(candidates, rounds)
    peer, one, _ = candidates
    for name in candidates:
        spent = [f"{1000 * median(lap[name][n] for lap in laps) / HOST_CASES:.3f}" for n in (0, 1)]
        ratios = [
            " / ".join(
                f"{median(lap[other][n] / lap[name][n] for lap in laps):.2f}" for n in (0, 1)
            )
            for other in (peer, one)
        ]
        print(row(name, *spent, *ratios), flush=True)
    print("\nRatios are of wall time / of CPU time.")


def simulated(devices: Sequence[float], helpers: Sequence[int], rounds: int) -> None:
    """Print the table of what the stage lets simulated devices wait."""
    cores = len(os.sched_getaffinity(0))
    print(f"## Simulated device\n\n{machine('numba')}.\n")
    print(f"{DEVICE_CASES} images of {HOST_SHAPE}, a network at {HOST_SIDE} that sleeps, in")
    print(
        f"batches of {DEVICE_BATCH}; {cores} cores, {rounds} rounds in turns. Alone: a loop over a"
    )
    print("ready batch. Switches: how often a thread waited, for Python's lock or other work.\n")
    last = ("CPU ms an image", "switches an image")
    print(head("device, ms", "threads", "alone, images/s", "stage", "stage / alone", *last, text=0))
    with tempfile.TemporaryDirectory() as name:
        probabilities = OutputSpec(kind="probabilities")
        images = speckle(DEVICE_CASES)
        made = seal_images(Path(name), images, echo(), side=HOST_SIDE, output=probabilities)
        for milliseconds in devices:
            compare(made, Simulated(HOST_SIDE, milliseconds), helpers=helpers, rounds=rounds)


def compare(made: InferInputs, model: Simulated, *, helpers: Sequence[int], rounds: int) -> None:
    """Print a row for each number of threads beside one device."""
    loaded = load(model, made, batch_size=DEVICE_BATCH, fixed=True)
    batch = np.zeros((DEVICE_BATCH, 1, HOST_SIDE, HOST_SIDE), np.float32)
    switches: dict[str, list[int]] = {str(number): [] for number in helpers}

    def alone() -> None:
        for _ in range(DEVICE_CASES // DEVICE_BATCH):
            model.run(batch)

    def stage(number: int) -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
        write_masks(made, (loaded,), helpers=number)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
        switches[str(number)].append(after - before)

    candidates: dict[str, Way] = {
        "alone": alone,
        **{str(number): partial(stage, number) for number in helpers},
    }
    race(candidates, 1)
    laps = race(candidates, rounds)
    peer = DEVICE_CASES / median(lap["alone"][0] for lap in laps)
    for name, counts in switches.items():
        rate = DEVICE_CASES / median(lap[name][0] for lap in laps)
        ratio = median(lap["alone"][0] / lap[name][0] for lap in laps)
        spent = 1000 * median(lap[name][1] for lap in laps) / DEVICE_CASES
        cells = f"{peer:,.0f}", f"{rate:,.0f}", f"{ratio:.3f}", f"{spent:.3f}"
        waits = median(counts) / DEVICE_CASES
        print(row(model.milliseconds, name, *cells, f"{waits:.1f}"), flush=True)
