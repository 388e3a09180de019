"""How much of the ONNX Runtime backend's speed is left behind a Triton server on the same cores?

Both run the same files; each call is a stream of batches with as many in flight as the backend
takes. A stream of few batches would tell of its end alone: of three, one of the server's two
instances is idle for a third of the time. Run from the project's root, with BUSBENCH_TRITONSERVER
naming a server (`make triton`); prints a section in Markdown.
"""

from __future__ import annotations

import argparse
import os
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

from benchmarks.timing import interleaved, machine, versions
from evaluator.inference.backends import InferSettings, Model, TritonOptions, open_model
from reference_models.export import export_network
from reference_models.networks import build

SIZE = 256
STREAM = 8  # batches in a call
Stream = list[NDArray[np.float32]]
# About a millisecond an image on one core, and the two small reference networks.
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "small": lambda: nn.Sequential(
        nn.Conv2d(1, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 1, 2, stride=2),
    ),
    "unext": partial(build, "unext", image_size=SIZE),
    "cmunext": partial(build, "cmunext", image_size=SIZE),
}


@contextmanager
def contenders(path: Path, threads: int) -> Iterator[dict[str, Callable[[Stream], object]]]:
    """One file behind each backend, ready to take a stream of batches."""
    triton = partial(InferSettings, "cpu", threads, backend="triton")
    settings = {
        "direct": InferSettings("cpu", threads),
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", choices=tuple(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 4, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    print("## Triton beside ONNX Runtime\n")
    print(f"{machine()}, {versions('onnxruntime', 'tritonclient')}.")
    print(
        f"\n1 x {SIZE} x {SIZE}, {args.threads} threads for either, {STREAM} batches a call, "
        f"{args.rounds} rounds in turns; images/s over those of ONNX Runtime.\n\n"
        "| network | batch | ONNX Runtime, ms an image | Triton, shared memory | Triton, socket |\n"
        "| --- | ---: | ---: | ---: | ---: |"
    )
    for name in args.networks:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.onnx"
            torch.manual_seed(0)
            path.write_bytes(
                export_network(NETWORKS[name](), torch.rand(5, 1, SIZE, SIZE), {}).data
            )
            with contenders(path, args.threads) as ways:
                for batch in args.batches:
                    stream = [np.random.rand(batch, 1, SIZE, SIZE).astype(np.float32)] * STREAM
                    seconds = interleaved(ways, [stream] * args.rounds, 1)
                    direct = seconds.pop("direct")
                    each = 1000 * direct / (batch * STREAM)
                    ratios = " | ".join(f"{direct / taken:.2f}" for taken in seconds.values())
                    print(f"| {name} | {batch} | {each:.2f} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
