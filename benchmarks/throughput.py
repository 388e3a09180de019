"""How much of a bare ONNX Runtime loop's speed is left once images are decoded and masks packed?

Three ways through the same sealed phantoms, in turns: ONNX Runtime on tensors that are ready; our
sweep from encrypted PNG to packed masks on disk; MONAI's evaluator with the PyTorch network, from
PNG to masks at native size. With `--memory`: how much memory 1,000 and 10,000 cases take. Run from
the project's root; prints a section in Markdown.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from monai.data import DataLoader, Dataset, PILReader
from monai.engines import SupervisedEvaluator
from monai.networks.nets import BasicUNet
from monai.transforms import (
    Activationsd,
    AsDiscreted,
    Compose,
    EnsureChannelFirstd,
    Invertd,
    LoadImaged,
    Resized,
    ScaleIntensityRanged,
)
from numpy.typing import NDArray
from PIL import Image

from benchmarks.made import InferInputs, echo, seal_images
from benchmarks.timing import machine, versions
from evaluator.backends import InferSettings, open_model
from evaluator.contract import OutputSpec
from evaluator.preprocessing import to_input
from evaluator.sealed import open_sealed
from evaluator.speed import measure
from evaluator.sweep import Sweep
from harness.datasets import phantom
from reference_models.export import export_network
from reference_models.networks import NETWORKS, build

SIZE = 256
CASES = {"cmunext": 48, "unet": 12}
ROOT = Path(__file__).resolve().parents[1]


def network(name: str) -> torch.nn.Module:
    """A reference network with fresh weights; MONAI's U-Net where ours is not there."""
    torch.manual_seed(0)
    made = build(name, 1, SIZE) if name in NETWORKS else BasicUNet(2, 1, 1)
    return made.eval()


def title(name: str) -> str:
    return name if name in NETWORKS else f"{name} (MONAI's BasicUNet)"


@dataclass(frozen=True)
class Contest:
    """One network and the images it is to segment."""

    name: str
    network: torch.nn.Module
    made: InferInputs
    pngs: list[Path]
    threads: int

    def prepare(self) -> dict[str, Callable[[], object]]:
        """The three ways, ready to run."""
        settings = InferSettings(threads=self.threads)
        submission = self.made.submission
        model = open_model(self.made.submission_folder / "0.onnx", settings)
        batch_size = measure(model, submission.input, "auto").batch_size
        pictures = (np.asarray(Image.open(png)) for png in self.pngs)
        inputs = np.stack([to_input(picture, submission.input) for picture in pictures])
        sweep = Sweep(model, "0.onnx", submission, self.made.images, batch_size, 1)
        evaluator = self._monai()

        def bare() -> None:
            for start in range(0, len(inputs), batch_size):
                model.run(inputs[start : start + batch_size])

        def ours() -> None:
            with (
                open_sealed(self.made.images, self.made.key) as (_, cases),
                (self.made.out / "masks.bits").open("wb") as sink,
                closing(sweep.masks(cases)) as results,
            ):
                for masks in results:
                    sink.writelines(masks.packed)

        return {"bare": bare, "ours": ours, "monai": evaluator.run}

    def _monai(self) -> SupervisedEvaluator:
        """As its tutorials put it together: transforms, loader, evaluator, inversion."""
        before = Compose(
            [
                LoadImaged("image", reader=PILReader, image_only=True),
                EnsureChannelFirstd("image"),
                ScaleIntensityRanged("image", 0, 255, 0, 1),
                Resized("image", (SIZE, SIZE), mode="bilinear"),
            ]
        )
        after = Compose(
            [
                Activationsd("pred", sigmoid=True),
                Invertd("pred", before, orig_keys="image", nearest_interp=False),
                AsDiscreted("pred", threshold=0.5),
            ]
        )
        data = Dataset([{"image": str(png)} for png in self.pngs], before)
        return SupervisedEvaluator(
            torch.device("cpu"), DataLoader(data, batch_size=1), self.network, postprocessing=after
        )


def contest(name: str, folder: Path, pngs: list[Path], threads: int) -> Contest:
    made = network(name)
    pictures: list[NDArray[np.uint8]] = [np.asarray(Image.open(png)) for png in pngs]
    exported = export_network(made, torch.rand(5, 1, SIZE, SIZE), {}).data
    sealed = seal_images(folder, pictures, exported, side=SIZE, output=OutputSpec())
    return Contest(name, made, sealed, pngs, threads)


@dataclass(frozen=True)
class Lap:
    """Seconds of one way through all images: on the wall, and of all cores together."""

    wall: float
    cpu: float


def race(ways: dict[str, Callable[[], object]], rounds: int) -> list[dict[str, Lap]]:
    """Each way once a round, one after the other."""
    laps = []
    for _ in range(rounds):
        laps.append({name: _lap(run) for name, run in ways.items()})
    return laps


def _lap(run: Callable[[], object]) -> Lap:
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return Lap(time.perf_counter() - wall, time.process_time() - cpu)


def throughput(names: list[str], rounds: int, threads: int) -> None:
    torch.set_num_threads(threads)
    print("## Throughput, from sealed PNG to packed masks\n")
    print_machine()
    print(
        f"\nNetworks at {SIZE} x {SIZE}, {threads} threads, medians of {rounds} rounds in turns and"
        " of their ratios."
        "\n\n| network | images | bare loop, images/s | BUSBench | MONAI + PyTorch "
        "| BUSBench / bare | BUSBench / MONAI | BUSBench / bare, per CPU second |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        phantom.generate(folder / "raw", patients=30, seed=1)
        pngs = sorted((folder / "raw" / "images").glob("*.png"))
        for network_name in names:
            chosen = (pngs * 9)[: CASES[network_name]]
            ways = contest(network_name, folder / network_name, chosen, threads).prepare()
            race(ways, 1)
            laps = race(ways, rounds)
            cells = [f"{len(chosen) / median(lap[way].wall for lap in laps):.2f}" for way in ways]
            cells += [
                f"{median(lap[peer].wall / lap['ours'].wall for lap in laps):.3f}"
                for peer in ("bare", "monai")
            ]
            cells.append(f"{median(lap['bare'].cpu / lap['ours'].cpu for lap in laps):.3f}")
            print(f"| {title(network_name)} | {len(chosen)} | {' | '.join(cells)} |", flush=True)


def memory(counts: tuple[int, ...] = (1_000, 10_000)) -> None:
    """Print the peak memory of the infer stage, in a process of its own."""
    print("## Memory of the infer stage\n")
    print_machine()
    print("\n| cases | peak |\n| ---: | ---: |")
    peaks = []
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            peaks.append(peak_of(Path(name), count))
        print(f"| {count:,} | {peaks[-1] / 2**20:.1f} MiB |", flush=True)
    print(f"\nRatio {peaks[-1] / peaks[0]:.3f}.")


CHILD = """
import sys
from evaluator.__main__ import main
from evaluator.hardware import peak_memory
status = main()
print("peak", peak_memory())
sys.exit(status)
"""


def peak_of(folder: Path, count: int) -> int:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    output = OutputSpec(kind="probabilities")
    made = seal_images(
        folder / "stage", [picture] * count, echo(), side=64, output=output, seed="0" * 64
    )
    words = {
        "submission": made.submission_folder,
        "gate": made.verdict,
        "images": made.images,
        "key": made.key,
        "out": made.out,
        "batch-size": 8,
    }
    done = subprocess.run(
        [sys.executable, "-c", CHILD, "infer", *(f"--{word}={at}" for word, at in words.items())],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout.split()[-1])


def print_machine() -> None:
    print(f"{machine()}, {versions('onnxruntime', 'torch', 'monai')}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--networks", nargs="+", choices=tuple(CASES), default=list(CASES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    if args.memory:
        memory()
    else:
        throughput(args.networks, args.rounds, args.threads)


if __name__ == "__main__":
    main()
