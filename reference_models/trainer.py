"""How is the model of one fold trained, so that a kill at any moment changes nothing?

All that the next step depends on stands in one state (weights, optimiser, schedule, random
numbers, history, best weights so far), saved as one file; batches depend on the step alone.
"""

from __future__ import annotations

import csv
import io
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reference_models.batches import Batches
from reference_models.checkpoint import State, load_checkpoint, save_checkpoint
from reference_models.config import Config
from reference_models.errors import TrainingError, UsageError
from reference_models.files import write_atomically
from reference_models.losses import LOSSES
from reference_models.machine import Machine
from reference_models.networks import Staged, build
from reference_models.progress import Progress, Say, quiet, silent

# Saving may take this share of the time: large networks then save less often than was asked.
SAVING_SHARE = 0.05


@dataclass(frozen=True)
class FoldPaths:
    """Where the training of one fold keeps its files."""

    checkpoint: Path
    log: Path  # CSV: step, rate, loss, dice

    @classmethod
    def under(cls, work: Path, fold: int) -> FoldPaths:
        """The files of `fold` in the folder `work`."""
        return cls(work / f"fold-{fold}.checkpoint", work / f"fold-{fold}.csv")


@dataclass(frozen=True)
class TrainedFold:
    """The model of one fold.

    Args:
        weights: the kept weights, on the CPU.
        step: the step they come from.
        dice: their mean validation Dice at the network's size.
    """

    fold: int
    weights: dict[str, Tensor]
    step: int
    dice: float


def train_fold(
    config: Config,
    batches: Batches,
    fold: int,
    machine: Machine,
    *,
    paths: FoldPaths,
    fingerprint: str,
    progress: Progress = quiet,
    say: Say = silent,
) -> TrainedFold:
    """Train one fold to its end, from its newest whole checkpoint where there is one.

    Args:
        fingerprint: a digest of recipe, bundle and fold; a checkpoint of another is refused.

    Raises:
        UsageError: the checkpoint belongs to another training.
        TrainingError: the loss ceased to be finite; the last good checkpoint stays.
        MachineError: the disk refuses a checkpoint.
    """
    run = _Run(config, batches, fold, machine)
    state = load_checkpoint(paths.checkpoint, say)
    if state is not None:
        run.restore(_own(state, fingerprint, paths.checkpoint))
        done = "is done" if run.step == run.total else "goes on"
        say(f"fold {fold} {done} after step {run.step} of {run.total}")
    saver = _Saver(config.checkpoint_seconds, paths.checkpoint)
    shown = started = time.monotonic()
    while run.step < run.total:
        run.advance()
        validated = run.step % config.validate_every == 0 or run.step == run.total
        if validated:
            run.validate()
        if validated or saver.due():
            run.stop_if_not_finite(paths.checkpoint)
        if validated:
            write_atomically(paths.log, _table(run.history))
            seconds = time.monotonic() - started
            say(f"fold {fold} {_sentence(run.history[-1])} after {seconds:.0f} s")
        if run.step == run.total or saver.due():
            saver.save({**run.state(), "fingerprint": fingerprint})
        if time.monotonic() - shown >= 1 or run.step == run.total:
            progress(f"training fold {fold}", run.step, run.total)
            shown = time.monotonic()
    return run.result()


def finished_fold(fold: int, paths: FoldPaths, fingerprint: str) -> TrainedFold | None:
    """The model of a fold whose training has ended, else None.

    Raises:
        UsageError: the checkpoint belongs to another training.
    """
    state = load_checkpoint(paths.checkpoint)
    if state is None or _own(state, fingerprint, paths.checkpoint)["step"] < state["total"]:
        return None
    return _result(fold, state)


def _own(state: State, fingerprint: str, path: Path) -> State:
    if state["fingerprint"] != fingerprint:
        raise UsageError(
            f"{path} belongs to a training with another recipe or bundle.",
            "Name another folder with --work, or remove this one.",
        )
    return state


def _result(fold: int, state: State) -> TrainedFold:
    kept = state["kept"]
    return TrainedFold(fold, kept["weights"], kept["step"], kept["dice"])


def _table(history: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue().encode()


def _sentence(row: dict[str, Any]) -> str:
    return f"step {row['step']}: loss {row['loss']:.4f}, validation Dice {row['dice']:.4f}"


class _Saver:
    """Saves when the time has come, and measures what saving costs."""

    def __init__(self, seconds: float, path: Path) -> None:
        self._seconds = seconds
        self._path = path
        self._cost = 0.0
        self._last = time.monotonic()

    def due(self) -> bool:
        wait = max(self._seconds, self._cost / SAVING_SHARE)
        return time.monotonic() - self._last >= wait

    def save(self, state: State) -> None:
        started = time.monotonic()
        save_checkpoint(self._path, state)
        self._last = time.monotonic()
        self._cost = self._last - started


class _Run:
    """The moving parts of one fold's training."""

    def __init__(self, config: Config, batches: Batches, fold: int, machine: Machine) -> None:
        self.config, self.batches, self.fold, self.machine = config, batches, fold, machine
        self.total = config.total_steps(batches.training_count(fold))
        self.step = 0
        self.history: list[dict[str, Any]] = []
        self.kept: dict[str, Any] = {"step": 0, "dice": -1.0, "weights": {}}
        torch.manual_seed(int(np.random.SeedSequence((config.seed, fold)).generate_state(1)[0]))
        network = build_network(config)
        self.network = network.to(machine.device, memory_format=machine.layout)  # type: ignore[call-overload]
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=config.rate, weight_decay=config.weight_decay, fused=True
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, config.rate, total_steps=self.total, pct_start=config.warm_up
        )
        half = machine.dtype == torch.float16
        self.scaler = torch.amp.GradScaler(machine.device.type, enabled=half)
        # On the device, so that no step waits for the number: read before saving or validating.
        self.loss_sum = torch.zeros((), device=machine.device)
        self.first_bad = torch.full((), -1, dtype=torch.int64, device=machine.device)

    def advance(self) -> None:
        """One optimiser step."""
        self.network.train()
        if isinstance(self.network, Staged):
            cases = self.batches.training_count(self.fold)
            self.network.at_epoch(self.step * self.config.batch // cases)
        images, masks = self.batches.training(self.fold, self.step)
        self.optimiser.zero_grad(set_to_none=True)
        loss = LOSSES[self.config.loss](self._logits(images), masks)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.step + 1 < self.total:
            self.schedule.step()
        self.step += 1
        self._watch(loss.detach(), norm)

    def _watch(self, loss: Tensor, norm: Tensor) -> None:
        self.loss_sum += loss
        # The scaler skips steps whose gradients overflow, so there only the loss counts.
        good = loss.isfinite() if self.scaler.is_enabled() else loss.isfinite() & norm.isfinite()
        self._note(good)

    def _note(self, good: Tensor) -> None:
        """Remember the present step where it is the first that is not `good`, a truth value."""
        first = torch.where(self.first_bad < 0, self.step, self.first_bad)
        self.first_bad = torch.where(good, self.first_bad, first)

    def stop_if_not_finite(self, checkpoint: Path) -> None:
        """Raise TrainingError where a loss or gradient since the last call was not finite."""
        bad = int(self.first_bad.item())
        if bad < 0:
            return
        kept = f"The last good state is kept in {checkpoint}." if checkpoint.exists() else ""
        raise TrainingError(
            f"Fold {self.fold}: the loss or its gradient was not finite at step {bad}.",
            f"{kept} Lower the rate or choose another precision, with another --work.".strip(),
        )

    def validate(self) -> None:
        """Add a row to the history, and keep the weights where they are wanted."""
        self.network.eval()
        with torch.inference_mode():
            pairs = self.batches.validation(self.fold)
            scores = [self._score(self._logits(images), masks) for images, masks in pairs]
        dice = torch.cat(scores).mean().item()
        since = self.step - (self.history[-1]["step"] if self.history else 0)
        rate = self.schedule.get_last_lr()[0]
        loss = self.loss_sum.item() / since
        self.history.append({"step": self.step, "rate": rate, "loss": loss, "dice": dice})
        self.loss_sum.zero_()
        if self.config.keep == "last" or dice > self.kept["dice"]:
            weights = self.network.state_dict()
            copies = {name: value.detach().to("cpu", copy=True) for name, value in weights.items()}
            self.kept = {"step": self.step, "dice": dice, "weights": copies}

    def _score(self, logits: Tensor, masks: Tensor) -> Tensor:
        self._note(logits.isfinite().all())
        return dice_scores(logits, masks, self.config.threshold)

    def _logits(self, images: Tensor) -> Tensor:
        machine = self.machine
        with torch.autocast(machine.device.type, machine.dtype, enabled=machine.autocast):
            logits: Tensor = self.network(images)
        return logits.float()

    def state(self) -> State:
        """All that the next step depends on."""
        cuda = self.machine.device.type == "cuda"
        return {
            "step": self.step,
            "total": self.total,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state() if cuda else None,
            "loss_sum": self.loss_sum,
            "history": self.history,
            "kept": self.kept,
        }

    def restore(self, state: State) -> None:
        """Go back to a saved state."""
        self.step, self.history, self.kept = state["step"], state["history"], state["kept"]
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        self.scaler.load_state_dict(state["scaler"])
        self.loss_sum = state["loss_sum"].to(self.machine.device)
        torch.set_rng_state(state["random"])
        if state["random_cuda"] is not None and self.machine.device.type == "cuda":
            torch.cuda.set_rng_state(state["random_cuda"])

    def result(self) -> TrainedFold:
        """The kept weights."""
        return _result(self.fold, {"kept": self.kept})


def build_network(config: Config) -> nn.Module:
    """The recipe's network with fresh weights; raises UsageError where it cannot be."""
    wanted = config.input
    return build(config.network, wanted.channel_count, (wanted.height, wanted.width))


def dice_scores(logits: Tensor, masks: Tensor, threshold: float) -> Tensor:
    """Dice of each image (N,), foreground strictly above `threshold`; 1 where both are empty."""
    found = (torch.sigmoid(logits) > threshold).float()
    overlap = (found * masks).sum(dim=(1, 2, 3))
    areas = (found + masks).sum(dim=(1, 2, 3))
    return torch.where(areas > 0, 2 * overlap / areas.clamp(min=1), 1.0)
