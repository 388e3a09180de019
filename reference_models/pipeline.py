"""From a training bundle to a submission folder: read, train the folds, export, hand in."""

from __future__ import annotations

import json
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reference_models.batches import Batches
from reference_models.config import Config
from reference_models.data import Bundle, load_cases, open_bundle
from reference_models.errors import TrainingError, UsageError
from reference_models.export import OPSET, PARITY_BATCHES, Exported, Mirrored, export_network
from reference_models.files import sha256_bytes
from reference_models.logs import Progress, Say, quiet, silent
from reference_models.machine import DeviceName, Machine, prepare_machine
from reference_models.precision import FULL, Cost, lower, write_costs
from reference_models.run import TrainedFold, build_network, check
from reference_models.submission import (
    DOCUMENT,
    TRAINING,
    WORK,
    Declared,
    Titles,
    exported_folds,
    write_document,
    write_model,
)
from reference_models.trainer import FoldPaths, finished_fold, train_fold
from reference_models.transfer import Start, no_start, read_start


@dataclass(frozen=True)
class Job:
    """One training as it was requested.

    Args:
        bundle: the training bundle.
        out: the submission folder.
        work: where checkpoints and logs stay; None keeps them in `out` until all folds are done.
        start: a file of weights to start from; None starts fresh.
        events: a folder for TensorBoard's events; None writes none.
    """

    config: Config
    bundle: Path
    out: Path
    titles: Titles
    work: Path | None = None
    device: DeviceName = "auto"
    threads: int | None = None
    start: Path | None = None
    events: Path | None = None

    @property
    def work_folder(self) -> Path:
        """Where checkpoints and logs lie while training goes on."""
        return self.work or self.out / WORK


def fingerprint(config: Config, bundle: Bundle, start: Start) -> str:
    """A digest of all that decides the weights: the recipe, the bundle's cases and the start."""
    recipe = config.model_dump(exclude={"checkpoint_seconds", "mirrored"})
    parts = [recipe, bundle.document.split_digest, bundle.document.cases_sha256, start.digest]
    return sha256_bytes(json.dumps(parts, sort_keys=True).encode())


def train(
    job: Job, folds: Sequence[int] | None, progress: Progress = quiet, *, say: Say = silent
) -> None:
    """Train folds (None: all) and export every finished one; what is done is not done again.

    Raises:
        UsageError: a fold that the bundle has not, or a folder that contains something else.
        BundleError, TrainingError, MachineError: see the modules that raise them.
    """
    bundle = open_bundle(job.bundle)
    chosen = list(bundle.folds) if folds is None else list(folds)
    if not set(chosen) <= set(bundle.folds):
        raise UsageError(
            f"{job.bundle} has no fold {max(chosen)}.", f"Its folds are 0 to {max(bundle.folds)}."
        )
    check(job.config)  # what cannot be built should say so before data are read
    start = _start(job)
    print_of = fingerprint(job.config, bundle, start)
    exported = exported_folds(job.out, _mark(print_of, job.config, FULL))
    if set(chosen) <= exported and (job.out / DOCUMENT).exists():
        say(f"{job.out} already contains what was requested.")
        return
    say(start.report)
    machine = prepare_machine(job.device, job.threads, job.config.precision)
    batches = _batches(job.config, bundle, machine, progress=progress)
    for fold in chosen:
        train_fold(
            job.config,
            batches,
            fold,
            machine=machine,
            paths=FoldPaths.under(job.work_folder, fold, job.events),
            fingerprint=print_of,
            start=start.weights,
            progress=progress,
            say=say,
        )
    _export(job, bundle, batches, print_of=print_of, progress=progress, say=say)


def export(
    job: Job, precision: str = FULL, progress: Progress = quiet, *, say: Say = silent
) -> None:
    """Export every fold whose training has ended, and write the submission.

    Args:
        precision: `fp32`, or a row of `precision.PRECISIONS`, whose cost is then written to the
            submission's name with `.precision.json`: a submission contains only what it declares.

    Raises:
        UsageError: a lower precision without a work folder, or a folder of another export.
        TrainingError: no fold's training has ended.
    """
    if precision != FULL and job.work is None:
        raise UsageError(
            f"An export in {precision} is made from a finished training whose folder was kept.",
            "Name that folder with --work, and a new one with --out.",
        )
    bundle = open_bundle(job.bundle)
    print_of = fingerprint(job.config, bundle, _start(job))
    exported_folds(job.out, _mark(print_of, job.config, precision))
    machine = prepare_machine("cpu", job.threads, job.config.precision)
    batches = _batches(job.config, bundle, machine, progress=progress)
    _export(
        job, bundle, batches, print_of=print_of, progress=progress, say=say, precision=precision
    )


def _mark(print_of: str, config: Config, precision: str) -> str:
    """What an ONNX file says of where it comes from; no kind of export passes for another."""
    kinds = ["mirrored"] * config.mirrored + [precision] * (precision != FULL)
    return "-".join((print_of, *kinds))


def _start(job: Job) -> Start:
    return read_start(job.start, job.config) if job.start else no_start()


def _batches(config: Config, bundle: Bundle, machine: Machine, *, progress: Progress) -> Batches:
    loaded = load_cases(bundle, config.input, progress, resample=config.resample)
    return Batches(config, loaded, machine)


def _export(
    job: Job,
    bundle: Bundle,
    batches: Batches,
    *,
    print_of: str,
    progress: Progress,
    say: Say,
    precision: str = FULL,
) -> None:
    """Export finished folds one by one: those of a large network do not fit into memory at once."""
    models: dict[int, str] = {}
    dices: list[float] = []
    costs: list[Cost] = []
    for fold in bundle.folds:
        trained = finished_fold(fold, FoldPaths.under(job.work_folder, fold), print_of)
        if trained is None:
            continue
        mark = _mark(print_of, job.config, precision)
        exported = _export_fold(job.config, batches, trained, training=mark)
        say(_sentence(trained, exported))
        data = exported.data
        if precision != FULL:
            data, cost = lower(
                data,
                precision,
                batches,
                fold=fold,
                threshold=job.config.threshold,
                progress=progress,
            )
            costs.append(cost)
            say(cost.sentence())
        models[fold] = write_model(job.out, fold, data)
        dices.append(trained.dice)
        progress("exporting", fold + 1, len(bundle.folds))
    if not models:
        raise TrainingError(
            f"{job.work_folder} contains no finished fold.", "Train a fold first, with this --work."
        )
    parameters = sum(weight.numel() for weight in build_network(job.config).parameters())
    declared = Declared(job.config.input.model_dump(), OPSET, job.config.threshold, parameters)
    write_document(job.out, declared, track=bundle.document.track, titles=job.titles, models=models)
    if costs:
        _tell_costs(job.out.with_name(f"{job.out.name}.precision.json"), costs, say)
    _finish(job, bundle, dices, say=say)


def _tell_costs(path: Path, costs: Sequence[Cost], say: Say) -> None:
    write_costs(path, costs)
    mean, spread = _mean_and_spread([cost.loss for cost in costs])
    say(f"{costs[0].precision} costs {mean:.4f} ± {spread:.4f} of Dice; see {path}")


def _export_fold(
    config: Config, batches: Batches, trained: TrainedFold, *, training: str
) -> Exported:
    network = build_network(config)
    network.load_state_dict(trained.weights)
    notes = {TRAINING: training, "network": config.network, "fold": str(trained.fold)}
    images = batches.sample(trained.fold, max(PARITY_BATCHES)).cpu()
    return export_network(Mirrored(network) if config.mirrored else network, images, notes)


def _sentence(trained: TrainedFold, exported: Exported) -> str:
    size = len(exported.data) / 1e6
    parity = (
        "not compared with PyTorch, for ONNX Runtime is not installed"
        if exported.difference is None
        else f"within {exported.difference:.0e} of PyTorch"
    )
    return (
        f"fold {trained.fold} exported from step {trained.step} "
        f"(validation Dice {trained.dice:.4f}): {exported.nodes} nodes, {size:.1f} MB, {parity}"
    )


def _finish(job: Job, bundle: Bundle, dices: Sequence[float], *, say: Say) -> None:
    mean, spread = _mean_and_spread(dices)
    say(
        f"{len(dices)} of {len(bundle.folds)} folds: validation Dice "
        f"{mean:.4f} ± {spread:.4f}; submission in {job.out}"
    )
    if job.work is None and len(dices) == len(bundle.folds):
        shutil.rmtree(job.out / WORK)  # a submission contains only what it declares


def _mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (ddof 1); no spread of a single value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0
