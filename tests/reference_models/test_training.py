"""Nothing that happens during a training changes its result, or loses it."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from reference_models import trainer
from reference_models.batches import Batches
from reference_models.checkpoint import load_checkpoint, save_checkpoint
from reference_models.config import AWESOME_BUS, AugmentSettings, Config, InputSettings
from reference_models.data import LoadedCases, load_cases, open_bundle
from reference_models.errors import MachineError, TrainingError, UsageError
from reference_models.losses import LOSSES
from reference_models.machine import Machine
from reference_models.optimisation import OPTIMISERS, SCHEDULES, Plan
from reference_models.run import TrainedFold
from reference_models.trainer import FoldPaths, finished_fold, train_fold

pytestmark = pytest.mark.slow

INPUT = InputSettings(height=32, width=32)
MACHINE = Machine(torch.device("cpu"), torch.float32)
CONFIG = Config(network="unext", input=INPUT, epochs=3, batch=4, checkpoint_seconds=0)


class Killed(BaseException):
    """A kill: nothing in the trainer may catch it."""


@pytest.fixture(autouse=True)
def _save_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "SAVING_SHARE", 1e9)


@pytest.fixture(scope="module")
def loaded(bundle_path: Path) -> LoadedCases:
    return load_cases(open_bundle(bundle_path), INPUT)


def fit(
    work: Path, loaded: LoadedCases, config: Config = CONFIG, said: list[str] | None = None
) -> TrainedFold:
    batches = Batches(config, loaded, MACHINE)
    paths = FoldPaths.under(work, 0)
    lines: list[str] = [] if said is None else said
    return train_fold(
        config,
        batches,
        0,
        machine=MACHINE,
        paths=paths,
        fingerprint="f",
        start={},
        say=lines.append,
    )


def die_at(monkeypatch: pytest.MonkeyPatch, save: int, *, written: bool) -> None:
    """Be killed at the given save, before or after the file is written."""
    real, count = save_checkpoint, iter(range(1, 1000))

    def dying(path: Path, state: dict[str, object]) -> None:
        number = next(count)
        if number < save or written:
            real(path, state)
        if number == save:
            raise Killed

    monkeypatch.setattr(trainer, "save_checkpoint", dying)


def files(work: Path) -> tuple[bytes, bytes]:
    paths = FoldPaths.under(work, 0)
    return paths.weights.read_bytes(), paths.log.read_bytes()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, loaded: LoadedCases) -> tuple[bytes, bytes]:
    work = tmp_path_factory.mktemp("unbroken")
    fit(work, loaded)
    return files(work)


@pytest.mark.parametrize(("save", "written"), [(1, False), (3, True), (4, False), (12, True)])
def test_a_kill_never_changes_the_result(
    tmp_path: Path,
    loaded: LoadedCases,
    unbroken: tuple[bytes, bytes],
    monkeypatch: pytest.MonkeyPatch,
    save: int,
    written: bool,
) -> None:
    with monkeypatch.context() as killing:
        die_at(killing, save, written=written)
        with pytest.raises(Killed):
            fit(tmp_path, loaded)
    fit(tmp_path, loaded)
    assert files(tmp_path) == unbroken


def test_a_corrupt_checkpoint_falls_back_to_the_one_before_and_says_so(
    tmp_path: Path,
    loaded: LoadedCases,
    unbroken: tuple[bytes, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as killing:
        die_at(killing, 6, written=True)
        with pytest.raises(Killed):
            fit(tmp_path, loaded)
    path = FoldPaths.under(tmp_path, 0).checkpoint
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    said: list[str] = []
    fit(tmp_path, loaded, said=said)
    assert f"{path} is corrupt" in said[0] and "goes on after step 5" in said[1]
    assert files(tmp_path) == unbroken


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, loaded: LoadedCases, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = iter(range(1, 1000))

    def failing(logits: Tensor, masks: Tensor) -> Tensor:
        step = next(steps) if logits.requires_grad else 0
        return (logits * (float("nan") if step == 7 else 1)).square().mean()

    monkeypatch.setitem(LOSSES, "bce_dice", failing)
    with pytest.raises(TrainingError, match=r"not finite at step 7.*last good state is kept in"):
        fit(tmp_path, loaded)
    state = load_checkpoint(FoldPaths.under(tmp_path, 0).checkpoint)
    assert state is not None and state["step"] == 6
    assert all(value.isfinite().all() for value in state["network"].values())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS])
def test_a_full_disk_is_one_sentence_and_loses_nothing(
    number: int,
    tmp_path: Path,
    loaded: LoadedCases,
    unbroken: tuple[bytes, bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = iter(range(1, 1000))
    sync = os.fsync

    def full(descriptor: int) -> None:
        if next(calls) == 5:
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    with monkeypatch.context() as filling, pytest.raises(MachineError) as refused:
        filling.setattr(os, "fsync", full)
        fit(tmp_path, loaded)
    said = rf"cannot be written \({os.strerror(number)}\)\. Free some space"
    assert re.search(said, str(refused.value))
    assert not list(tmp_path.glob(".fold*"))
    fit(tmp_path, loaded)
    assert files(tmp_path) == unbroken


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path, loaded: LoadedCases) -> None:
    fit(tmp_path, loaded, CONFIG.model_copy(update={"epochs": 1.0}))
    with pytest.raises(UsageError, match="another recipe, bundle or start"):
        finished_fold(0, FoldPaths.under(tmp_path, 0), "other")


def test_training_never_goes_on_once_it_no_longer_gets_better(
    tmp_path: Path, loaded: LoadedCases
) -> None:
    config = CONFIG.model_copy(update={"rate": 1e-9, "patience": 2, "epochs": 9.0})
    fit(tmp_path, loaded, config)
    assert len(FoldPaths.under(tmp_path, 0).log.read_text().splitlines()) == 1 + 3
    assert finished_fold(0, FoldPaths.under(tmp_path, 0), "f") is not None


def test_the_awesome_bus_profile_runs_and_resumes(
    tmp_path: Path, loaded: LoadedCases, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"keep": "rank", "schedule": "cosine", "clip": None, "epochs": 1.0}
    config = CONFIG.model_copy(update={**changes, "augment": AugmentSettings(style=AWESOME_BUS)})
    fit(tmp_path / "whole", loaded, config)
    with monkeypatch.context() as killing:
        die_at(killing, 2, written=True)
        with pytest.raises(Killed):
            fit(tmp_path / "broken", loaded, config)
    fit(tmp_path / "broken", loaded, config)
    assert files(tmp_path / "broken") == files(tmp_path / "whole")
    assert "hd95" in FoldPaths.under(tmp_path / "whole", 0).log.read_text()


def test_the_awesome_bus_augmentation_leaves_masks_masks(loaded: LoadedCases) -> None:
    config = CONFIG.model_copy(update={"augment": AugmentSettings(style=AWESOME_BUS)})
    images, masks = Batches(config, loaded, MACHINE).training(0, 3)
    assert images.shape == masks.shape == (4, 1, 32, 32)
    assert images.min() >= 0 and images.max() <= 1 and bool(((masks == 0) | (masks == 1)).all())


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_optimiser_goes_with_every_schedule(optimiser: str, schedule: str) -> None:
    config = CONFIG.model_copy(update={"optimiser": optimiser, "schedule": schedule})
    weight = torch.nn.Parameter(torch.ones(2))
    made = OPTIMISERS[optimiser]([{"params": [weight], "lr": config.rate}], config)
    stepped = SCHEDULES[schedule](made, Plan(config, total=12, cases=16))
    rates = []
    for _ in range(12):
        rates.append(stepped.get_last_lr()[0])
        weight.grad = 2 * weight.detach()  # of the sum of squares
        made.step()
        stepped.step() if len(rates) < 12 else None
    assert max(rates) == pytest.approx(config.rate, rel=0.01) and weight.max() < 1
    if schedule == "cosine":  # constant within each epoch of four steps
        assert rates[0] == rates[3] > rates[4] == rates[7] > rates[8]


def test_no_length_is_too_short_for_a_cycle() -> None:
    for total in range(2, 9):
        optimiser = OPTIMISERS["sgd"]([{"params": [torch.nn.Parameter(torch.ones(1))]}], CONFIG)
        schedule = SCHEDULES["one_cycle"](optimiser, Plan(CONFIG, total, cases=16))
        for _ in range(total - 1):
            optimiser.step()
            schedule.step()


def test_events_are_written_where_requested(tmp_path: Path, loaded: LoadedCases) -> None:
    batches = Batches(CONFIG, loaded, MACHINE)
    paths = FoldPaths.under(tmp_path / "work", 0, events=tmp_path / "events")
    train_fold(CONFIG, batches, 0, machine=MACHINE, paths=paths, fingerprint="f", start={})
    (events,) = (tmp_path / "events" / "fold-0").iterdir()
    assert b"val_loss" in events.read_bytes()
