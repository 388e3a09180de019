"""One command from bundle to submission: train what is missing, export, and write the document.

OUT/submission.yaml   written last: its presence means the submission is whole
OUT/fold-<k>.onnx     one model a fold
OUT/.work/            checkpoints and logs, removed when the submission is whole
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from reference_models.batches import Batches
from reference_models.config import Config
from reference_models.data import Bundle, load_pictures, open_bundle
from reference_models.export import OPSET, export
from reference_models.files import sha256_bytes, write_atomically
from reference_models.machine import Machine
from reference_models.progress import print_line, say_line
from reference_models.trainer import FoldPaths, TrainedFold, finished_fold, train_fold

SCHEMA = "busbench/submission/v1"


@dataclass(frozen=True)
class Author:
    """Who hands in what, as the board shows it."""

    team: str
    method: str


def train(
    config: Config, bundle_path: Path, work: Path, machine: Machine, folds: Sequence[int] | None
) -> list[TrainedFold]:
    """Train the folds that are not finished yet; all of the bundle's where none is named.

    Raises:
        ModelsError: whatever the recipe, the bundle or the machine is to blame for.
    """
    bundle = open_bundle(bundle_path)
    wanted = list(bundle.folds) if folds is None else list(folds)
    done = {
        fold: finished_fold(fold, FoldPaths.under(work, fold), fingerprint(config, bundle, fold))
        for fold in wanted
    }
    if any(trained is None for trained in done.values()):
        batches = Batches(config, load_pictures(bundle, config.input, print_line), machine)
    results = []
    for fold in wanted:
        trained = done[fold] or train_fold(
            config,
            batches,
            fold,
            machine,
            paths=FoldPaths.under(work, fold),
            fingerprint=fingerprint(config, bundle, fold),
            progress=print_line,
            say=say_line,
        )
        say_line(f"fold {fold}: validation Dice {trained.dice:.4f} at step {trained.step}.")
        results.append(trained)
    return results


def fingerprint(config: Config, bundle: Bundle, fold: int) -> str:
    """What a checkpoint belongs to: recipe, bundle and fold."""
    document = bundle.document
    text = f"{config.model_dump_json()} {document.split_digest} {document.cases_sha256} {fold}"
    return sha256_bytes(text.encode())


def run(
    config: Config, bundle_path: Path, out: Path, work: Path, machine: Machine, author: Author
) -> Path:
    """Train all folds, export each, and leave a submission folder with nothing else in it.

    Returns:
        The path of `submission.yaml`.

    Raises:
        ModelsError: whatever the recipe, the bundle or the machine is to blame for.
    """
    trained = train(config, bundle_path, work, machine, None)
    models = []
    for number, fold in enumerate(trained, start=1):
        path = out / f"fold-{fold.fold}.onnx"
        export(config, fold.weights, path)
        digest = sha256_bytes(path.read_bytes())
        models.append({"fold": fold.fold, "file": path.name, "sha256": digest})
        print_line("exporting", number, len(trained))
    document = {
        "schema": SCHEMA,
        "team": author.team,
        "method": author.method,
        "track": open_bundle(bundle_path).document.track,
        "input": config.input.model_dump(),
        "output": {"kind": "logits", "threshold": config.threshold},
        "models": models,
        "opset": OPSET,
    }
    path = out / "submission.yaml"
    write_atomically(path, yaml.safe_dump(document, sort_keys=False).encode())
    shutil.rmtree(work, ignore_errors=True)
    return path
