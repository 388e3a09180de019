"""Every network learns within a few steps, in full precision and in half."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from reference_models.batches import Batches
from reference_models.config import AugmentSettings, Config, InputSettings
from reference_models.data import load_cases, open_bundle
from reference_models.export import TOLERANCE, export_network
from reference_models.machine import prepare_machine
from reference_models.networks import NETWORKS
from reference_models.run import Run
from tests.support.training_bundle import make_bundle

pytestmark = pytest.mark.slow

STILL = AugmentSettings(flip=0, shift=0, scale=0, rotate=0, brightness=0, contrast=0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five cases in five folds: each batch of four is all that trains a fold's model."""
    return make_bundle(tmp_path_factory.mktemp("few") / "bundle", cases=5)


def start(network: str, bundle: Path, precision: str, steps: int) -> Run:
    side = 128 if network == "swin_unet" else 32
    config = Config(
        network=network,
        input=InputSettings(height=side, width=side),
        augment=STILL,
        steps=steps,
        batch=4,
        rate=1e-3,
        precision=precision,
    )
    machine = prepare_machine("cpu", 1, precision)
    batches = Batches(config, load_cases(open_bundle(bundle), config.input), machine)
    return Run(config, batches, 0, machine=machine, start={})


def losses(run: Run) -> list[float]:
    """The loss of every step to come."""
    found = [0.0]
    while run.step < run.total:
        run.advance()
        found.append(run.loss_sum.item())
    return [after - before for before, after in pairwise(found)]


@pytest.mark.parametrize("network", NETWORKS)
def test_no_network_fails_to_learn_in_a_few_steps(network: str, bundle: Path) -> None:
    run = start(network, bundle, "fp32", 6)
    found = losses(run)
    assert found[-1] < found[0] - 0.02, found
    run.stop_if_not_finite(Path())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("network", ["unext", "medt", "cmunext_s"])
def test_half_precision_on_a_cpu_learns_like_full_and_is_exported_in_full(
    network: str, precision: str, bundle: Path
) -> None:
    full, half = (start(network, bundle, kind, 6) for kind in ("fp32", precision))
    of_full, of_half = losses(full), losses(half)
    # fp16 leaves steps out until the loss's scale fits: how many, the processor's arithmetic says
    assert of_half[0] == pytest.approx(of_full[0], abs=0.01)
    assert of_half == pytest.approx(of_full, abs=0.1 if precision == "fp16" else 0.05)
    assert of_half[-1] < of_half[0] - 0.02
    half.stop_if_not_finite(Path())
    half.validate()
    weights: dict[str, Tensor] = half.kept["weights"]
    assert all(
        value.dtype != torch.bfloat16 and value.isfinite().all() for value in weights.values()
    )
    images = half.batches.sample(0, 5)
    with torch.autocast("cpu", half.machine.dtype), torch.no_grad():
        rough = half.network.eval()(images).float()
    exported = export_network(half.network, images, {})
    assert exported.difference is not None and exported.difference <= TOLERANCE
    with torch.no_grad():
        exact = half.network(images)
    assert 0 < (rough - exact).abs().max() < 0.2  # training really ran in the lower precision
