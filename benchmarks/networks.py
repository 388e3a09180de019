"""Cost of each reference network to export, to train and to run: nodes, seconds, memory.

Run from the project's root: `python -m benchmarks.networks`. It prints a table in Markdown. Every
measurement is made in a process of its own, whose peak memory the operating system reports: one
training step for the peak of training, one image through ONNX Runtime for that of inference. What
each further image of a training batch takes is counted: the tensors that autograd keeps for the
backward pass. Parity with PyTorch is at batches 1, 2 and 5, on real images with `--images FOLDER`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.timing import head, machine, peak_gigabytes, row, seconds
from benchmarks.training import STEPS, some_cases
from reference_models.batches import Batches
from reference_models.config import Config, InputSettings
from reference_models.data import BILINEAR, letterbox
from reference_models.export import INPUT, PARITY_BATCHES, export_network
from reference_models.losses import bce_dice
from reference_models.machine import prepare_machine
from reference_models.networks import NETWORKS, build
from reference_models.run import Run

# One image through ONNX Runtime, in a process that never sees PyTorch.
INFERENCE = """
import resource, sys, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
side = int(sys.argv[2])
session.run(None, {sys.argv[3]: numpy.zeros((1, 1, side, side), numpy.float32)})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)
"""
COLUMNS = ("nodes", "MB", "export, s", "from PyTorch", "training, GB", "each image more")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16, help="of the training step")
    parser.add_argument("--images", type=Path, help="a folder of real images")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.task:
        print(json.dumps(TASKS[args.task](args)))
        return
    print(f"## Networks at {args.size} x {args.size}\n")
    print(f"{machine('torch', 'onnxruntime')}; {args.threads} threads.")
    print(f"Training at batch {args.batch}; export with its parity.\n")
    print(head("network", *COLUMNS, "inference, GB"))
    for name in args.networks:
        print(row(name, *cells(name, args)), flush=True)


def cells(name: str, args: argparse.Namespace) -> list[str]:
    """One network's line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "network.onnx"
        same = [*sys.argv[1:], "--networks", name, "--model", str(model), "--task"]
        task = [sys.executable, "-W", "ignore", "-m", "benchmarks.networks", *same]
        made = json.loads(output([*task, "export"]))
        infer = output([sys.executable, "-c", INFERENCE, str(model), str(args.size), INPUT])
        megabytes = model.stat().st_size / 1e6
    trained = json.loads(output([*task, "training"]))
    more = kept_by_autograd(name, 3, args.size) - kept_by_autograd(name, 2, args.size)
    export = [f"{made['nodes']:.0f}", f"{megabytes:.1f}", f"{made['seconds']:.1f}"]
    memory = [f"{gigabytes:.2f}" for gigabytes in (trained["gigabytes"], more, float(infer))]
    return [*export, f"{made['difference']:.0e}", *memory]


def output(command: list[str]) -> str:
    """The last line that a process prints."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.splitlines()[-1]


def export(args: argparse.Namespace) -> dict[str, float]:
    """Seconds of an export with its parity, nodes, and the largest difference of a logit."""
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    network, images = build(args.networks[0], image_size=args.size), some_images(args)
    made = []
    taken = seconds(lambda: made.append(export_network(network, images, {})))
    args.model.write_bytes(made[0].data)
    return {"nodes": made[0].nodes, "seconds": taken, "difference": made[0].difference or 0.0}


def training(args: argparse.Namespace) -> dict[str, float]:
    """Peak memory of one step."""
    square = InputSettings(height=args.size, width=args.size)
    config = Config(network=args.networks[0], input=square, batch=args.batch, steps=STEPS)
    here = prepare_machine("cpu", args.threads, "fp32")
    batches = Batches(config, some_cases(args.size, count=2 * args.batch + 5), here)
    Run(config, batches, 0, machine=here, start={}).advance()
    return {"gigabytes": peak_gigabytes()}


TASKS: dict[str, Callable[[argparse.Namespace], dict[str, float]]] = {
    "export": export,
    "training": training,
}


def kept_by_autograd(name: str, batch: int, side: int) -> float:
    """Gigabytes of activations kept for the backward pass; counted on tensors without data."""
    with torch.device("meta"):
        network = build(name, image_size=side).train()
        images, masks = torch.zeros(2, batch, 1, side, side)
    weights = {id(weight) for weight in network.parameters()}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        whole = tensor if tensor._base is None else tensor._base
        if id(whole) not in weights:
            kept[id(whole)] = whole
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        bce_dice(network(images), masks)
    return sum(tensor.numel() * tensor.element_size() for tensor in kept.values()) / 1e9


def some_images(args: argparse.Namespace) -> Tensor:
    """As many images (N, 1, side, side) as parity needs."""
    count, side = max(PARITY_BATCHES), args.size
    if args.images is None:
        return torch.from_numpy(some_cases(side, count).images).float()[:, None] / 255
    paths = sorted(args.images.glob("*.png"))
    chosen = [paths[index] for index in np.linspace(0, len(paths) - 1, count).astype(int)]
    images = [np.asarray(Image.open(path).convert("L")) for path in chosen]
    boxed = [letterbox(one, (side, side), BILINEAR) for one in images]
    return torch.from_numpy(np.stack(boxed)).float()[:, None] / 255


if __name__ == "__main__":
    main()
