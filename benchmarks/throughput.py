"""Speed of the infer stage, compared with a bare ONNX Runtime loop and with MONAI.

Three ways through the same sealed phantoms, in turns: ONNX Runtime on tensors that are ready; our
sweep from encrypted PNG to packed masks on disk; MONAI's evaluator with the PyTorch network, from
PNG to masks at native size. With `--host`: a network that costs nothing, so that only our own work
is measured, beside the same work done by Pillow in a plain loop; `taskset` gives it fewer cores.
With `--memory`: how much memory 1,000 and 10,000 cases take. Run from the project's root; prints a
section in Markdown.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from monai.data import DataLoader, Dataset, PILReader
from monai.engines import SupervisedEvaluator
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
from PIL import Image

from benchmarks.host import DEVICES, Way, host, simulated, write_masks
from benchmarks.made import echo, seal_images
from benchmarks.timing import head, machine, race, row
from evaluator.documents.submission import OutputSpec
from evaluator.inference.backends import InferSettings, open_model
from evaluator.inference.preprocessing import to_input
from evaluator.inference.speed import measure_batch
from evaluator.inference.sweep import LoadedModel
from harness.datasets import phantom
from reference_models.export import export_network
from reference_models.networks import build

SIZE = 256
CASES = {"cmunext": 48, "unet": 12}
PACKAGES = ("onnxruntime", "torch", "monai")
COLUMNS = ("BUSBench", "MONAI + PyTorch", "BUSBench / bare", "BUSBench / MONAI")
# The infer stage in a process of its own, with its peak memory.
CHILD = """
import sys
from evaluator.__main__ import main
from evaluator.inference.hardware import peak_memory
status = main()
print("peak", peak_memory())
sys.exit(status)
"""


def ways(name: str, folder: Path, pngs: list[Path], *, threads: int) -> dict[str, Way]:
    """The three ways of one network through its images, ready to run."""
    torch.manual_seed(0)
    network = build(name, 1, SIZE).eval()
    images = [np.asarray(Image.open(png)) for png in pngs]
    exported = export_network(network, torch.rand(5, 1, SIZE, SIZE), {}).data
    made = seal_images(folder, images, exported, side=SIZE, output=OutputSpec())
    model = open_model(made.submission_folder / "0.onnx", InferSettings(threads=threads))
    inputs = np.stack([to_input(image, made.submission.input) for image in images])
    batch_size = measure_batch(model, inputs)
    loaded = LoadedModel(
        model=model,
        declared=made.submission.models[0],
        input=made.submission.input,
        output=made.submission.output,
        batch_size=batch_size,
    )

    def bare() -> None:
        for start in range(0, len(inputs), batch_size):
            model.run(inputs[start : start + batch_size])

    ours = partial(write_masks, made, (loaded,), helpers=1)
    return {"bare": bare, "ours": ours, "monai": monai(network, pngs).run}


def monai(network: torch.nn.Module, pngs: list[Path]) -> SupervisedEvaluator:
    """MONAI as its tutorials put it together: transforms, loader, evaluator, inversion."""
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
    data = DataLoader(Dataset([{"image": str(png)} for png in pngs], before), batch_size=1)
    return SupervisedEvaluator(torch.device("cpu"), data, network, postprocessing=after)


def throughput(names: list[str], rounds: int, threads: int) -> None:
    """Print the table of speeds."""
    torch.set_num_threads(threads)
    print(f"## Throughput, from sealed PNG to packed masks\n\n{machine(*PACKAGES)}.\n")
    print(f"Networks at {SIZE} x {SIZE}, {threads} threads; medians of {rounds} rounds in turns.\n")
    last = "BUSBench / bare, per CPU second"
    print(head("network", "images", "bare loop, images/s", *COLUMNS, last))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        phantom.generate(folder / "raw", patients=30, seed=1)
        pngs = sorted((folder / "raw" / "images").glob("*.png"))
        for network in names:
            chosen = (pngs * 9)[: CASES[network]]
            candidates = ways(network, folder / network, chosen, threads=threads)
            race(candidates, 1)
            laps = race(candidates, rounds)
            cells = [f"{len(chosen) / median(lap[w][0] for lap in laps):.2f}" for w in candidates]
            for peer, clock in (("bare", 0), ("monai", 0), ("bare", 1)):
                ratio = median(lap[peer][clock] / lap["ours"][clock] for lap in laps)
                cells.append(f"{ratio:.3f}")
            print(row(network, len(chosen), *cells), flush=True)


def memory(counts: tuple[int, ...] = (1_000, 10_000)) -> None:
    """Print the peak memory of the infer stage, in a process of its own."""
    print(f"## Memory of the infer stage\n\n{machine(*PACKAGES)}.\n")
    print(head("cases", "peak", text=0))
    peaks = []
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            peaks.append(peak_of(Path(name), count))
        print(row(f"{count:,}", f"{peaks[-1] / 2**20:.1f} MiB"), flush=True)
    print(f"\nRatio {peaks[-1] / peaks[0]:.3f}.")


def peak_of(folder: Path, count: int) -> int:
    """Bytes that the infer stage takes at most for so many cases."""
    images = [np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)] * count
    output = OutputSpec(kind="probabilities")
    made = seal_images(folder / "stage", images, echo(), side=64, output=output, seed="0" * 64)
    words = {"submission": made.submission_folder, "gate": made.verdict, "images": made.images}
    words |= {"key": made.key, "out": made.out}
    options = ["--batch-size=8", *(f"--{word}={path}" for word, path in words.items())]
    command = [sys.executable, "-c", CHILD, "infer", *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--host", action="store_true")
    parser.add_argument(
        "--device-ms",
        type=float,
        nargs="*",
        metavar="MS",
        help=f"milliseconds an image of simulated devices; {', '.join(map(str, DEVICES))} if none",
    )
    parser.add_argument(
        "--helpers", type=int, nargs="+", default=[2, 4, 16, 32], help="threads beside them"
    )
    parser.add_argument("--networks", nargs="+", choices=tuple(CASES), default=list(CASES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    if args.memory:
        memory()
    elif args.host:
        host(args.rounds, args.threads)
    elif args.device_ms is not None:
        simulated(args.device_ms or DEVICES, args.helpers, args.rounds)
    else:
        throughput(args.networks, args.rounds, args.threads)


if __name__ == "__main__":
    main()
