"""Reference networks whose masks are worth comparing, inputs for them, and whole stages."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from evaluator.documents.inference import Precision
from reference_models.networks import NETWORKS, build
from tests.support import ROOT
from tests.support.inference import Stage

BATCH = 8
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
SECONDS = 90  # of a command
COMMON = ("unext", "cmunext")  # two that are quick; tests that say no name use these
_SLOW = ("unet3plus", "medt", "transunet")
# Cheap ones first: a run that is cut off has tested the most.
ORDER = (*COMMON, *(name for name in NETWORKS if name not in (*COMMON, *_SLOW)), *_SLOW)
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


def python(module: str, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a module in a process of its own, with the environment of a fresh shell."""
    command = ["timeout", "-k", "5", str(SECONDS), sys.executable, "-m", module, *words]
    return subprocess.run(
        command,
        cwd=ROOT,
        env=environment() | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def environment() -> dict[str, str]:
    """That of a fresh shell: a test in this process may have switched TF32 off."""
    kept = {name: value for name, value in os.environ.items() if name != "NVIDIA_TF32_OVERRIDE"}
    return kept | {"PYTHONPATH": str(ROOT)}


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


def companies(name: str) -> list[NDArray[np.float32]]:
    """A batch, the same again, and each image of it in its place beside black ones and noise."""
    inputs, noise = some_inputs(name), some_inputs(name, seed=1)
    found = [inputs, inputs]
    for place in range(BATCH):
        for others in (np.zeros_like(inputs), noise.copy()):
            others[place] = inputs[place]
            found.append(others)
    return found
