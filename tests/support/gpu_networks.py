"""Reference networks whose masks are worth comparing: exported, and run on a device.

Each network is exported, and run in each precision, in a process of its own: a precision is a
process's, and what crashes fails its own tests alone.

    python -m tests.support.gpu_networks FOLDER NAME                     NAME.onnx and NAME.npy
    python -m tests.support.gpu_networks FOLDER NAME PRECISION DEVICE    NAME-PRECISION.npy
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from evaluator.documents.inference import Device, Precision
from evaluator.inference.backends import InferSettings, open_model
from reference_models.export import export_network
from reference_models.networks import build
from tests.support import ROOT
from tests.support.inference import Stage

BATCH = 8
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
SECONDS = 90  # of one process
COMMON = ("unext", "cmunext")  # two that are quick; tests that say no name use these
# The smallest side that is quick or, for two networks, natural; 64 for what is not named.
_SIDES = {
    **dict.fromkeys(("unet", "attention_unet", "unetpp", "unet3plus", "cmunet"), 32),
    **{"medt": 128, "swin_unet": 224},
}


def side_of(name: str) -> int:
    """Pixels a side that a network is tested at."""
    return _SIDES.get(name, 64)


def some_inputs(name: str, count: int = BATCH, seed: int = 0) -> NDArray[np.float32]:
    """Noise (count, 1, side, side) for a network, of contrasts from low to full."""
    rng, side = np.random.default_rng(seed), side_of(name)
    contrast = np.linspace(0.2, 1, count, dtype=np.float32)
    return rng.random((count, 1, side, side), np.float32) * contrast[:, None, None, None]


class Centred(nn.Module):
    """A network half of whose pixels are lesion, with logits of a small spread.

    What rounding does to fresh weights would else pass the exporter's limit, which is absolute.
    """

    def __init__(self, network: nn.Module, median: float, spread: float) -> None:
        super().__init__()
        self.network, self.median, self.scale = network, median, 0.05 / spread

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, 1, H, W) images to (N, 1, H, W) logits."""
        logits: Tensor = self.network(images)
        return (logits - self.median) * self.scale


def settled(name: str) -> Centred:
    """Fresh weights, but norms that have seen noise: else every pixel would look the same."""
    torch.manual_seed(0)
    network = build(name, image_size=side_of(name)).train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d):
            module.momentum = 0.5  # not all, or channels that say little would be but rounding
    images = torch.from_numpy(some_inputs(name))
    with torch.no_grad():
        for _ in range(2):
            network(images)
        logits = network.eval()(images)
    return Centred(network, float(logits.median()), float(logits.std())).eval()


def prepare(folder: Path, device: Device, names: Iterable[str]) -> None:
    """Write networks and their maps; what fails is printed, and has no file."""
    lowered = PRECISIONS if device != "cpu" else PRECISIONS[:1]

    def work(name: str) -> None:
        words = [(), *((precision, device) for precision in lowered)]
        for each in words:
            done = python("tests.support.gpu_networks", str(folder), name, *each)
            if done.returncode:
                print(f"{name} {' '.join(each)} failed:\n{done.stderr[-2000:]}", flush=True)

    folder.mkdir()
    with ThreadPoolExecutor(max(1, (os.cpu_count() or 1) // 2)) as pool:
        list(pool.map(work, names))


def python(module: str, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a module in a process of its own, with the environment of a fresh shell."""
    kept = {name: value for name, value in os.environ.items() if name != "NVIDIA_TF32_OVERRIDE"}
    command = ["timeout", "-k", "5", str(SECONDS), sys.executable, "-m", module, *words]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=kept | {"PYTHONPATH": str(ROOT)} | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def infer_stage(
    made: Stage, hidden: str | None = None, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a sealed stage as a runner does.

    Args:
        hidden: what CUDA_VISIBLE_DEVICES is to be.
        options: those of `python -m evaluator infer`.
    """
    words: dict[str, Any] = {"submission": made.folder, "gate": made.out.parent / "gate.json"}
    words |= {"images": made.images, "key": made.key, "out": made.out} | options
    asked = [f"--{name.replace('_', '-')}={value}" for name, value in words.items()]
    variables = {} if hidden is None else {"CUDA_VISIBLE_DEVICES": hidden}
    return python("evaluator", "infer", *asked, **variables)


def export(folder: Path, name: str) -> None:
    """Write a network, and its maps on the CPU."""
    torch.set_num_threads(2)
    made = export_network(settled(name), torch.from_numpy(some_inputs(name, 5)), {})
    (folder / f"{name}.onnx").write_bytes(made.data)
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
        np.save(folder / file, np.stack([model.run(batch) for batch in batches]))


def companies(name: str) -> list[NDArray[np.float32]]:
    """A batch, the same again, and each image of it in its place beside black ones and noise."""
    inputs, noise = some_inputs(name), some_inputs(name, seed=1)
    found = [inputs, inputs]
    for place in range(BATCH):
        for others in (np.zeros_like(inputs), noise.copy()):
            others[place] = inputs[place]
            found.append(others)
    return found


def main() -> None:
    folder, name, *how = sys.argv[1:]
    if not how:
        export(Path(folder), name)
        return
    precision, device = how
    settings = InferSettings(device=device, precision=precision)  # type: ignore[arg-type]
    run(Path(folder), name, settings, companies(name), file=f"{name}-{precision}.npy")


if __name__ == "__main__":
    main()
