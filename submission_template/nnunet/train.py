"""nnU-Net on the training bundle: its own plans and training, the bundle's folds, one model a fold.

Killed and started again with the same --out, it goes on from the last checkpoint: OUT/work has
them, until the submission is written. Images are read where they are and copied nowhere.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from nnunetv2.experiment_planning.plan_and_preprocess_api import (
    extract_fingerprints,
    plan_experiments,
    preprocess,
)
from nnunetv2.run.run_training import get_trainer_from_args, maybe_load_checkpoint
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from PIL import Image

from command_line import arguments, count
from dataset import BundleDataset
from nnunet_export import export

NUMBER, NAME = 500, "Dataset500_busbench"
EPOCHS, STEPS = 1000, 250  # nnU-Net's own: how many, and steps of an epoch
EDGE = 4  # pixels of the smallest maps, as nnU-Net has it
VALIDATED = 5  # steps for one of validation, as nnU-Net has it
SAVED_EVERY = 5  # epochs
THREADS = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)  # the sandbox names it
# torch.compile writes programs to /tmp, and the sandbox runs none from there.
SETTINGS = {"nnUNet_compile": "f", "nnUNet_n_proc_DA": str(max(1, min(8, THREADS - 1)))}
DECIDE = ("planner", "epochs", "steps", "tile", "batch", "maps")  # not changed once begun
PLANNED = {"default": "as planned", "type": count}


def main() -> None:
    options = arguments(
        EPOCHS,
        steps={"default": STEPS, "quick": 2, "type": count, "help": "optimiser steps of an epoch"},
        tile=PLANNED
        | {"quick": 128, "help": "side of the square that the network sees, in pixels"},
        batch=PLANNED | {"quick": 2, "help": "tiles of a step"},
        maps=PLANNED | {"quick": [8, 16, 32, 64], "nargs": "+", "help": "feature maps a stage"},
        planner={"default": "ExperimentPlanner", "help": "nnU-Net's planner or preset"},
        trainer={"default": "nnUNetTrainer", "help": "any of the installed nnU-Net"},
        no_mirroring={
            "default": False,
            "action": "store_true",
            "help": "predict the image alone, without its mirror images",
        },
    )
    cases = BundleDataset(options.bundle)
    work = (options.out / "work").resolve()
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    for name in ("raw", "preprocessed", "results"):
        (work / name).mkdir(parents=True, exist_ok=True)
        os.environ[f"nnUNet_{name}"] = str(work / name)
    plans = prepare(cases, work, {name: getattr(options, name) for name in DECIDE})
    folds = sorted({int(row["fold"]) for row in cases.rows})
    for fold in folds:
        trainer = make_trainer(fold, options.trainer, plans)
        trainer.num_epochs = options.epochs
        trainer.num_iterations_per_epoch = options.steps
        trainer.num_val_iterations_per_epoch = max(1, options.steps // VALIDATED)
        train(trainer)
    results = work / "results" / NAME / f"{options.trainer}__{plans}__2d"
    export(results, options.bundle, options.out, mirroring=not options.no_mirroring)


def prepare(cases: BundleDataset, work: Path, asked: dict) -> str:
    """Plan and preprocess, once; the name of the plans.

    nnU-Net's data set of images that stay where they are needs labels of 0 and 1, and the folds.
    """
    done = work / "planned.json"
    if done.exists():
        before = json.loads(done.read_text())
        if before != asked | {"plans": before["plans"]}:
            sys.exit(f"{work} was begun with other options. Name a new --out, or remove it.")
        return before["plans"]
    raw, preprocessed = work / "raw" / NAME, work / "preprocessed" / NAME
    with tempfile.TemporaryDirectory() as labels:
        write_dataset(cases, raw, Path(labels))
        extract_fingerprints([NUMBER], num_processes=THREADS, verbose=False)
        plans = plan_experiments([NUMBER], asked["planner"])
        shrink(preprocessed / f"{plans}.json", asked)
        preprocess([NUMBER], plans, ("2d",), (THREADS,))
    ids = {fold: [] for fold in sorted({int(row["fold"]) for row in cases.rows})}
    for row in cases.rows:
        ids[int(row["fold"])].append(row["case_id"])
    splits = [
        {"train": [c for f in ids if f != fold for c in ids[f]], "val": ids[fold]} for fold in ids
    ]
    (preprocessed / "splits_final.json").write_text(json.dumps(splits))
    done.write_text(json.dumps(asked | {"plans": plans}))
    return plans


def write_dataset(cases: BundleDataset, raw: Path, labels: Path) -> None:
    """Write nnU-Net's dataset.json, and the masks with 1 for lesion."""
    raw.mkdir(parents=True, exist_ok=True)
    files = {}
    for row in cases.rows:
        name = f"{row['case_id']}.png"
        with Image.open(cases.bundle / "masks" / name) as mask:
            lesion = np.array(mask.convert("L")) > 127
        Image.fromarray(lesion.astype(np.uint8)).save(labels / name)
        image = (cases.bundle / "images" / name).resolve()
        files[row["case_id"]] = {"images": [str(image)], "label": str(labels / name)}
    document = {
        "channel_names": {"0": "ultrasound"},  # z-scores each image, as for any name but CT
        "labels": {"background": 0, "lesion": 1},
        "numTraining": len(files),
        "file_ending": ".png",
        "overwrite_image_reader_writer": "NaturalImage2DIO",
        "dataset": files,
    }
    (raw / "dataset.json").write_text(json.dumps(document))


def shrink(path: Path, asked: dict) -> None:
    """Write the tile, batch and maps that are asked for into nnU-Net's plans."""
    plans = json.loads(path.read_text())
    planned = plans["configurations"]["2d"]
    network = planned["architecture"]["arch_kwargs"]
    given = {name: value for name, value in asked.items() if value != PLANNED["default"]}
    before, maps = network["n_stages"], given.get("maps", network["features_per_stage"])
    if (stages := len(maps)) > before:
        sys.exit(f"--maps has {stages} stages, and nnU-Net plans {before} for these images.")
    for name, value in network.items():
        if isinstance(value, list):  # of each stage, or of each but the last
            network[name] = value[: len(value) - before + stages]
    network |= {"n_stages": stages, "features_per_stage": maps}
    if tile := given.get("tile"):
        halved = 2 ** (stages - 1)
        if tile % halved or tile < EDGE * halved:
            needed = f"a multiple of {halved}, from {EDGE * halved} on"
            sys.exit(f"--tile {tile}: with {stages} stages it has to be {needed}.")
        planned["patch_size"] = [tile, tile]
    planned["batch_size"] = given.get("batch", planned["batch_size"])
    path.write_text(json.dumps(plans))


def make_trainer(fold: int, name: str, plans: str) -> nnUNetTrainer:
    """The trainer of a fold, on a GPU where there is one; it saves whole checkpoints alone."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    print(f"training fold {fold} on {device}", flush=True)
    trainer = get_trainer_from_args(str(NUMBER), "2d", fold, name, plans, device=device)
    trainer.save_every = SAVED_EVERY
    save, end = trainer.save_checkpoint, trainer.on_epoch_end

    def save_whole(path: str) -> None:
        if not path.endswith("best.pth"):  # which nobody exports here
            save(f"{path}.partial")
            Path(f"{path}.partial").replace(path)

    def end_epoch() -> None:
        end()
        done = f"{trainer.current_epoch}/{trainer.num_epochs}"
        print(f"progress {done} fold {fold}", flush=True)  # `busbench` draws a bar

    trainer.save_checkpoint, trainer.on_epoch_end = save_whole, end_epoch
    return trainer


def train(trainer: nnUNetTrainer) -> None:
    """Train a fold to its end, from where it was; of what is done, keep the weights alone."""
    final = Path(trainer.output_folder) / "checkpoint_final.pth"
    if final.exists():
        return
    maybe_load_checkpoint(trainer, continue_training=True, validation_only=False)
    trainer.run_training()
    weights = torch.load(final, map_location="cpu", weights_only=False)
    torch.save(weights | {"optimizer_state": None}, final.with_suffix(".partial"))
    final.with_suffix(".partial").replace(final)


if __name__ == "__main__":
    main()
