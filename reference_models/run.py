"""State of one fold's training: weights, optimiser, schedule, random numbers, history.

All that the next step depends on is in one state, which can be saved and restored; batches
depend on the step alone. So a kill at any moment changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from reference_models.batches import Batches
from reference_models.checkpoint import State
from reference_models.config import Config
from reference_models.errors import TrainingError, chosen
from reference_models.losses import LOSSES
from reference_models.machine import Machine
from reference_models.networks import build
from reference_models.optimisation import OPTIMISERS, SCHEDULES, Plan, groups_of, rest
from reference_models.validation import best_by_rank, dice_scores, hd95_scores, iou_of_dice

Weights = Mapping[str, Tensor]


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


class Run:
    """One fold's training.

    Args:
        start: weights to start from, by name; what it does not name starts fresh.
    """

    def __init__(
        self, config: Config, batches: Batches, fold: int, *, machine: Machine, start: Weights
    ) -> None:
        self.config, self.batches, self.fold, self.machine = config, batches, fold, machine
        self.cases = batches.training_count(fold)
        self.total = config.total_steps(self.cases)
        self.step = 0
        self.history: list[dict[str, Any]] = []
        self.kept: dict[str, Any] = {"step": 0, "dice": -1.0, "weights": {}}
        torch.manual_seed(int(np.random.SeedSequence((config.seed, fold)).generate_state(1)[0]))
        network = build_network(config)
        network.load_state_dict(start, strict=False)
        self.network = network.to(machine.device, memory_format=machine.layout)  # type: ignore[call-overload]
        self.optimiser = OPTIMISERS[config.optimiser](groups_of(self.network, config), config)
        plan = Plan(config, self.total, self.cases)
        self.schedule = SCHEDULES[config.schedule](self.optimiser, plan)
        self.loss = LOSSES[config.loss]
        half = machine.dtype == torch.float16
        self.scaler = torch.amp.GradScaler(machine.device.type, enabled=half)
        # On the device, so that no step waits for the number: read before saving or validating.
        self.loss_sum = torch.zeros((), device=machine.device)
        self.first_bad = torch.full((), -1, dtype=torch.int64, device=machine.device)
        self._ready: int | None = None  # the epoch that the network is set up to learn in

    @property
    def done(self) -> bool:
        """Whether all steps are done, or training no longer gets better."""
        stale = sum(row["step"] > self.kept["step"] for row in self.history)
        return self.step == self.total or stale >= (self.config.patience or math.inf)

    @property
    def validates(self) -> bool:
        """Whether the model is to be validated after the step just done."""
        return self.step == self.total or self.config.validates(self.step, self.cases)

    def advance(self) -> None:
        """One optimiser step."""
        self._get_ready()
        images, masks = self.batches.training(self.fold, self.step)
        self.optimiser.zero_grad(set_to_none=True)
        loss = self.loss(self._logits(images), masks)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimiser)
        limit = self.config.clip or math.inf
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), limit)
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if self.step + 1 < self.total:
            self.schedule.step()
        self.step += 1
        self._watch(loss.detach(), norm)

    def _get_ready(self) -> None:
        epoch = self.config.epoch(self.step, self.cases)
        if self._ready != epoch:
            self.network.train()
            rest(self.network, self.config, epoch)
            self._ready = epoch

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
        """Add a row to the history, and keep the weights where they are the best."""
        self.network.eval()
        self._ready = None
        with torch.inference_mode():
            parts = [self._score(*pair) for pair in self.batches.validation(self.fold)]
        means = {
            name: torch.cat([part[name] for part in parts]).nanmean().item() for name in parts[0]
        }
        since = self.step - (self.history[-1]["step"] if self.history else 0)
        row = {
            "epoch": self.config.epoch(self.step, self.cases),
            "step": self.step,
            "rate": self.schedule.get_last_lr()[-1],
            "loss": self.loss_sum.item() / since,
            **means,
        }
        self.history.append(row)
        self.loss_sum.zero_()
        if self._better():
            weights = self.network.state_dict()
            copies = {name: value.detach().to("cpu", copy=True) for name, value in weights.items()}
            self.kept = {"step": self.step, "dice": row["dice"], "weights": copies}

    def _better(self) -> bool:
        if self.config.keep == "rank":
            return best_by_rank(self.history)
        return self.config.keep == "last" or self.history[-1]["dice"] > self.kept["dice"]

    def _score(self, images: Tensor, masks: Tensor) -> dict[str, Tensor]:
        """Validation loss, Dice, IoU and, where it decides, HD95, each (N,)."""
        logits = self._logits(images)
        self._note(logits.isfinite().all())
        found = torch.sigmoid(logits) > self.config.threshold
        dice = dice_scores(found, masks)
        loss = self.loss(logits, masks).expand(len(masks))
        scores = {"val_loss": loss, "dice": dice, "iou": iou_of_dice(dice)}
        return scores | ({"hd95": hd95_scores(found, masks)} if self.config.keep == "rank" else {})

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
            "done": self.done,
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


def trained(fold: int, state: State) -> TrainedFold:
    """The kept weights of a state."""
    kept = state["kept"]
    return TrainedFold(fold, kept["weights"], kept["step"], kept["dice"])


def build_network(config: Config) -> nn.Module:
    """The recipe's network with fresh weights; raises UsageError where it cannot be."""
    size = (config.input.height, config.input.width)
    return build(config.network, config.input.channel_count, size)


def check(config: Config) -> None:
    """Refuse a recipe that cannot be trained, before any data are read.

    Raises:
        UsageError: an unknown loss, optimiser, schedule or network, or a size it cannot take.
    """
    chosen("loss", config.loss, LOSSES)
    chosen("optimiser", config.optimiser, OPTIMISERS)
    chosen("schedule", config.schedule, SCHEDULES)
    build_network(config)
