"""Training of one fold to its end, however often it is interrupted."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reference_models.batches import Batches
from reference_models.checkpoint import State, load_checkpoint, save_checkpoint
from reference_models.config import Config
from reference_models.errors import UsageError
from reference_models.logs import Events, Progress, Say, quiet, silent, write_csv
from reference_models.machine import Machine
from reference_models.run import Run, TrainedFold, Weights, trained
from reference_models.transfer import write_weights

# Saving may take this share of the time: large networks then save less often than was requested.
SAVING_SHARE = 0.05


@dataclass(frozen=True)
class FoldPaths:
    """Where the training of one fold keeps its files."""

    checkpoint: Path
    log: Path  # CSV, a line a validation
    weights: Path  # the finished model, for --init
    events: Path | None = None  # a folder for TensorBoard

    @classmethod
    def under(cls, work: Path, fold: int, events: Path | None = None) -> FoldPaths:
        """The files of `fold` in the folder `work`."""
        stem = work / f"fold-{fold}"
        checkpoint, log, weights = map(stem.with_suffix, (".checkpoint", ".csv", ".safetensors"))
        return cls(checkpoint, log, weights, events)


def train_fold(
    config: Config,
    batches: Batches,
    fold: int,
    *,
    machine: Machine,
    paths: FoldPaths,
    fingerprint: str,
    start: Weights,
    progress: Progress = quiet,
    say: Say = silent,
) -> TrainedFold:
    """Train one fold to its end, from its newest whole checkpoint where there is one.

    Args:
        fingerprint: a digest of recipe, bundle and start; a checkpoint of another is refused.
        start: weights to start from, by name.

    Raises:
        UsageError: the checkpoint belongs to another training.
        TrainingError: the loss ceased to be finite; the last good checkpoint stays.
        MachineError: the disk refuses a checkpoint.
    """
    run = Run(config, batches, fold, machine=machine, start=start)
    state = load_checkpoint(paths.checkpoint, say)
    if state is not None:
        run.restore(_own(state, fingerprint, paths.checkpoint))
        done = "is done" if run.done else "goes on"
        say(f"fold {fold} {done} after step {run.step} of {run.total}")
    events = Events(paths.events, fold, run.step)
    saver = _Saver(config.checkpoint_seconds, paths.checkpoint)
    clock = _Clock(run)
    while not run.done:
        run.advance()
        if run.validates:
            run.validate()
        if run.validates or saver.due():
            run.stop_if_not_finite(paths.checkpoint)
        if run.validates:
            write_csv(paths.log, run.history)
            events.add(run.history[-1])
            say(f"fold {fold} {_sentence(run.history[-1])}; {clock.sentence()}")
        if run.done or saver.due():
            saver.save({**run.state(), "fingerprint": fingerprint})
        if run.done or clock.due():
            progress(f"training fold {fold}", run.step, run.total)
    events.close()
    model = trained(fold, run.state())
    write_weights(paths.weights, model.weights, config)
    return model


def finished_fold(fold: int, paths: FoldPaths, fingerprint: str) -> TrainedFold | None:
    """The model of a fold whose training has ended, else None.

    Raises:
        UsageError: the checkpoint belongs to another training.
    """
    state = load_checkpoint(paths.checkpoint)
    if state is None or not _own(state, fingerprint, paths.checkpoint)["done"]:
        return None
    return trained(fold, state)


def _own(state: State, fingerprint: str, path: Path) -> State:
    if state["fingerprint"] != fingerprint:
        raise UsageError(
            f"{path} belongs to a training with another recipe, bundle or start.",
            "Name another folder with --work, or remove this one.",
        )
    return state


def _sentence(row: dict[str, Any]) -> str:
    hd95 = f", HD95 {row['hd95']:.1f}" if "hd95" in row else ""
    return (
        f"epoch {row['epoch']}, step {row['step']}: loss {row['loss']:.4f}, "
        f"validation loss {row['val_loss']:.4f}, Dice {row['dice']:.4f}{hd95}"
    )


class _Clock:
    """How long a run has taken here, and how long it may still take."""

    def __init__(self, run: Run) -> None:
        self._run, self._first = run, run.step
        self._shown = self._started = time.monotonic()

    def due(self) -> bool:
        """Whether a second has gone by since this was last true."""
        now = time.monotonic()
        if now - self._shown < 1:
            return False
        self._shown = now
        return True

    def sentence(self) -> str:
        """Seconds gone, and those to come should every step be done."""
        seconds = time.monotonic() - self._started
        run = self._run
        left = seconds / max(1, run.step - self._first) * (run.total - run.step)
        return f"{seconds:.0f} s, at most {left:.0f} s left"


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
