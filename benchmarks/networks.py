"""What does each reference network cost to export, to train and to run? Nodes, seconds, memory.

Run from the project's root: `python -m benchmarks.networks`. It prints a table in Markdown. Every
measurement is made in a process of its own, whose greatest memory the operating system tells
(`getrusage`): one training step for the peak of training, one image through ONNX Runtime for that
of inference. What each further image of a training batch takes is counted: the tensors that
autograd keeps for the way back. Parity with PyTorch is at batches 1, 2 and 5, on real images where
`--images` names a folder of them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.timing import machine, versions
from benchmarks.training import STEPS, some_pictures
from reference_models.batches import Batches
from reference_models.config import Config, InputSettings
from reference_models.data import letterbox
from reference_models.export import INPUT, PARITY_BATCHES, export_network
from reference_models.losses import bce_dice
from reference_models.machine import prepare_machine
from reference_models.networks import NETWORKS, build
from reference_models.run import Run

GIGABYTE = 1e9
# One image through ONNX Runtime, in a process that never sees PyTorch.
INFERENCE = """
import resource, sys, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
side = int(sys.argv[2])
session.run(None, {sys.argv[3]: numpy.zeros((1, 1, side, side), numpy.float32)})
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9)
"""
HEADER = """\
| network | nodes | MB | export, s | from PyTorch | training, GB | each image more | inference, GB |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16, help="of the training step")
    parser.add_argument("--images", type=Path, help="a folder of real images")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("--model", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.task:
        print(json.dumps(TASKS[arguments.task](arguments)))
        return
    print(f"## Networks at {arguments.size} x {arguments.size}\n")
    print(f"{machine()}; {versions('torch', 'onnxruntime')}; {arguments.threads} threads.")
    print(f"Training at batch {arguments.batch}; export with its parity.\n\n{HEADER}")
    for name in arguments.networks:
        print(row(name, arguments), flush=True)


def row(name: str, arguments: argparse.Namespace) -> str:
    """One network's line of the table."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "network.onnx"
        made = child("export", name, model, arguments)
        words = [sys.executable, "-c", INFERENCE, str(model), str(arguments.size), INPUT]
        run = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
        megabytes = model.stat().st_size / 1e6
    trained = child("training", name, model, arguments)
    more = kept_by_autograd(name, 3, arguments.size) - kept_by_autograd(name, 2, arguments.size)
    return (
        f"| {name} | {made['nodes']:.0f} | {megabytes:.1f} | {made['seconds']:.1f} | "
        f"{made['difference']:.0e} | {trained['gigabytes']:.2f} | {more:.2f} | "
        f"{float(run.stdout):.2f} |"
    )


def child(task: str, name: str, model: Path, arguments: argparse.Namespace) -> dict[str, float]:
    """What a process of its own says of one task."""
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.networks", "--task", task]
    command += ["--networks", name, "--model", str(model), "--size", str(arguments.size)]
    command += ["--batch", str(arguments.batch), "--threads", str(arguments.threads)]
    if arguments.images:
        command += ["--images", str(arguments.images)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def export(arguments: argparse.Namespace) -> dict[str, float]:
    """Seconds of an export with its parity, nodes, and the largest difference of a logit."""
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    network = build(arguments.networks[0], image_size=arguments.size)
    images = some_images(arguments)
    started = time.perf_counter()
    exported = export_network(network, images, {})
    seconds = time.perf_counter() - started
    assert exported.difference is not None
    arguments.model.write_bytes(exported.data)
    return {"nodes": exported.nodes, "seconds": seconds, "difference": exported.difference}


def training(arguments: argparse.Namespace) -> dict[str, float]:
    """Peak memory of one step."""
    square = InputSettings(height=arguments.size, width=arguments.size)
    name, batch = arguments.networks[0], arguments.batch
    config = Config(network=name, input=square, batch=batch, steps=STEPS)
    here = prepare_machine("cpu", arguments.threads, "fp32")
    batches = Batches(config, some_pictures(arguments.size, count=2 * batch + 5), here)
    Run(config, batches, 0, here, start={}).advance()
    return {"gigabytes": peak()}


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
    return sum(tensor.numel() * tensor.element_size() for tensor in kept.values()) / GIGABYTE


TASKS: dict[str, Callable[[argparse.Namespace], dict[str, float]]] = {
    "export": export,
    "training": training,
}


def peak() -> float:
    """The most memory that this process has held, in 10^9 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / GIGABYTE


def some_images(arguments: argparse.Namespace) -> Tensor:
    """As many images (N, 1, side, side) as parity needs."""
    count, side = max(PARITY_BATCHES), arguments.size
    if arguments.images is None:
        return torch.from_numpy(some_pictures(side, count).images).float()[:, None] / 255
    paths = sorted(arguments.images.glob("*.png"))
    chosen = [paths[place] for place in np.linspace(0, len(paths) - 1, count).astype(int)]
    pictures = [np.asarray(Image.open(path).convert("L")) for path in chosen]
    boxed = [letterbox(one, (side, side), Image.Resampling.BILINEAR) for one in pictures]
    return torch.from_numpy(np.stack(boxed)).float()[:, None] / 255


if __name__ == "__main__":
    main()
