"""No network computes anything else than its paper's public code.

`frozen.npz` contains outputs of networks of this package that had been compared with the public
code: random weights copied from one to the other, the same input, evaluation and training mode.
U-KAN's alone only say that it has not changed since.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from reference_models.networks import NETWORKS, build
from reference_models.networks.swin_unet import DropPath

pytestmark = pytest.mark.slow

FROZEN = Path(__file__).with_name("frozen.npz")
MODES = {"evaluation": False, "training": True}


def normal(name: str, shape: tuple[int, ...]) -> Tensor:
    """Numbers that no version of any library draws otherwise."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
    return torch.from_numpy(generator.standard_normal(shape))


def filled(network: nn.Module) -> nn.Module:
    """The network in float64, its weights and statistics functions of their names."""
    for name, value in network.double().state_dict().items():
        if not value.is_floating_point():
            continue
        drawn = normal(name, tuple(value.shape))
        if name.endswith("running_var"):
            value.copy_(torch.exp(0.2 * drawn))
        elif value.ndim > 1:
            value.copy_(drawn * (2 / value[0].numel()) ** 0.5)
        else:
            value.copy_(0.1 * drawn + name.endswith("weight"))
    return network


def outputs(name: str, training: bool) -> NDArray[np.float64]:
    """Every eighth logit, of every eighth row, of two images (2, H / 8, W / 8)."""
    side = 128 if name == "swin_unet" else 64
    network = filled(build(name, 1, side)).train(training)
    for module in network.modules():
        if isinstance(module, nn.Dropout | DropPath):
            module.eval()
    with torch.no_grad():
        logits: Tensor = network(normal("images", (2, 1, side, side)))
    return logits[:, 0, 3::8, 5::8].numpy()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", NETWORKS)
def test_no_network_gives_other_logits_than_the_public_code(name: str, mode: str) -> None:
    with np.load(FROZEN) as frozen:
        expected = frozen[f"{name}-{mode}"]
    scale = np.abs(expected).max()
    np.testing.assert_allclose(outputs(name, MODES[mode]), expected, atol=1e-5 * scale, rtol=1e-5)
