"""Speed of ONNX Runtime behind a Triton server, compared with the same files run directly.

Each call is a stream of batches with as many in flight as the backend takes: of a stream of three,
one of the server's two instances would be idle for a third of the time. Run from the project's
root, with BUSBENCH_TRITONSERVER naming a server (`make triton`, and for `--device cuda` `make
triton-gpu`); prints a section in Markdown.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.timing import head, interleaved, machine, row
from evaluator.documents.inference import Device
from evaluator.inference.backends import InferSettings, Model, TritonOptions, open_model
from evaluator.inference.hardware import device_name
from reference_models.export import export_network
from reference_models.networks import build

SIZE = 256
STREAM = 8  # batches in a call
Stream = list[NDArray[np.float32]]
TITLES = {
    "cpu": ("Triton beside ONNX Runtime", "onnxruntime"),
    "cuda": ("Triton beside ONNX Runtime, on a GPU", "onnxruntime-gpu"),
}
COLUMNS = ("batch", "ONNX Runtime, ms an image", "Triton, shared memory", "Triton, socket")


def network(name: str) -> nn.Module:
    """A reference network; `small` takes about a millisecond an image on one core."""
    torch.manual_seed(0)
    if name != "small":
        return build(name, image_size=SIZE)
    down, middle = nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.Conv2d(16, 16, 3, padding=1)
    return nn.Sequential(down, nn.ReLU(), middle, nn.ReLU(), nn.ConvTranspose2d(16, 1, 2, stride=2))


@contextmanager
def backends(
    path: Path, device: Device, threads: int
) -> Iterator[dict[str, Callable[[Stream], object]]]:
    """One file behind each backend, ready to take a stream of batches."""
    triton = partial(InferSettings, device, threads, backend="triton")
    settings = {
        "direct": InferSettings(device, threads),
        "shared memory": triton(triton=TritonOptions()),
        "socket": triton(triton=TritonOptions(shared_memory=False)),
    }
    with ExitStack() as stack:
        models = {
            name: stack.enter_context(closing(open_model(path, how)))
            for name, how in settings.items()
        }
        yield {name: partial(_stream, model) for name, model in models.items()}


def _stream(model: Model, batches: Stream) -> None:
    with ThreadPoolExecutor(model.in_flight) as pool:
        list(pool.map(model.run, batches))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=TITLES, default="cpu")
    parser.add_argument("--networks", nargs="+", default=["small", "unext", "cmunext"])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    if args.device != "cpu" and device_name(args.device) == "unknown":
        print("No CUDA device works here.", file=sys.stderr)
        return 1
    title, runtime = TITLES[args.device]
    card = "" if args.device == "cpu" else f"{device_name(args.device)}; host: "
    print(f"## {title}\n\n{card}{machine(runtime, 'tritonclient')}.\n")
    print(f"1 x {SIZE} x {SIZE}, {args.threads} threads for either, {STREAM} batches a call,")
    print(f"{args.rounds} rounds in turns; images/s over those of ONNX Runtime.\n")
    print(head("network", *COLUMNS))
    for name in args.networks:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            path.write_bytes(export_network(network(name), torch.rand(5, 1, SIZE, SIZE), {}).data)
            with backends(path, args.device, args.threads) as ways:
                for batch in args.batches:
                    stream = [np.random.rand(batch, 1, SIZE, SIZE).astype(np.float32)] * STREAM
                    taken = interleaved(ways, [stream] * args.rounds, 1)
                    direct = taken.pop("direct")
                    ratios = [f"{direct / each:.2f}" for each in taken.values()]
                    print(row(name, batch, f"{1000 * direct / (batch * STREAM):.3g}", *ratios))
    return 0


if __name__ == "__main__":
    sys.exit(main())
