"""Training on a CUDA device: it learns, goes on where it stopped, and never waits for the host."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from evaluator.documents.inference import Device
from reference_models.batches import Batches
from reference_models.checkpoint import load_checkpoint, save_checkpoint
from reference_models.config import Config, InputSettings
from reference_models.data import load_cases, open_bundle
from reference_models.machine import prepare_machine
from reference_models.run import Run
from tests.support.gpu_networks import ORDER, side_of
from tests.support.training_bundle import make_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundles") / "bundle", cases=20)


def new_run(bundle: Path, device: Device, name: str = "unext", *, precision: str = "auto") -> Run:
    """A training of a reference network that is about to begin."""
    square = InputSettings(height=side_of(name), width=side_of(name))
    config = Config(network=name, input=square, steps=60, batch=4, rate=0.006)
    machine = prepare_machine("cuda" if device == "cuda" else "cpu", None, precision)
    batches = Batches(config, load_cases(open_bundle(bundle), square), machine)
    return Run(config, batches, 0, machine=machine, start={})


def losses(run: Run, steps: int) -> list[float]:
    """The loss of each of the next steps."""
    found = []
    for _ in range(steps):
        run.loss_sum.zero_()
        run.advance()
        found.append(run.loss_sum.item())
    return found


def tensors(state: Any) -> Iterator[Tensor]:
    """All tensors of a state, in its order, on the CPU."""
    if isinstance(state, Tensor):
        yield state.cpu()
    elif isinstance(state, dict | list | tuple):
        for each in state.values() if isinstance(state, dict) else state:
            yield from tensors(each)


@pytest.mark.parametrize("half", ["bf16", "fp16"])
def test_mixed_precision_never_keeps_a_network_from_learning(
    bundle: Path, gpu: Device, half: str, tmp_path: Path
) -> None:
    run = new_run(bundle, gpu, precision=half)
    found = losses(run, 60)
    run.stop_if_not_finite(tmp_path / "checkpoint")
    assert sum(found[-10:]) < 0.8 * sum(found[:10])


@pytest.mark.parametrize("half", ["bf16", "fp16"])
def test_a_resumed_training_is_no_other_training(
    bundle: Path, gpu: Device, half: str, tmp_path: Path
) -> None:
    run = new_run(bundle, gpu, precision=half)
    losses(run, 5)
    save_checkpoint(tmp_path / "checkpoint", copy.deepcopy(run.state()))
    resumed = new_run(bundle, gpu, precision=half)
    state = load_checkpoint(tmp_path / "checkpoint")
    assert state is not None
    resumed.restore(state)
    pairs = zip(tensors(run.state()), tensors(resumed.state()), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert run.scaler.state_dict() == resumed.scaler.state_dict()
    # the device's sums of gradients have no fixed order, so from here on only about the same
    assert losses(resumed, 3) == pytest.approx(losses(run, 3), rel=0.05)


@contextmanager
def no_waiting() -> Iterator[None]:
    """Where PyTorch raises as soon as the host waits for the device."""
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", ORDER)
def test_no_step_waits_for_the_host(bundle: Path, cuda: Device, name: str) -> None:
    run = new_run(bundle, cuda, name)
    for _ in range(2):  # the first chooses algorithms and sets up the optimiser
        run.advance()
    with no_waiting():
        run.advance()
