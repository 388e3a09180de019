"""`busbench train`: train a participant's image on the training bundle, inside the sandbox."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from evaluator.contract import Submission, TrainingBundle, read
from evaluator.errors import BusbenchError
from evaluator.files import disk_errors, pretty_json, write_atomically
from evaluator.progress import Progress, quiet
from harness.challenge import Challenge
from harness.lanes.intake import read_submission, take
from harness.sandbox import Runner, Stage

TRAINED_BY = "trained-by.json"  # beside the submission folder, never in it


@dataclass(frozen=True)
class TrainSettings:
    """What runs in the training container."""

    image: str | None  # a local image's id; null: the bundled reference networks
    command: tuple[str, ...]  # may hold {bundle}, {out} and the names of `inputs`
    gpu: bool = False
    inputs: Mapping[str, Path] = field(default_factory=dict)  # what it reads beside the bundle


def train(
    bundle: Path,
    out: Path,
    settings: TrainSettings,
    runner: Runner,
    challenge: Challenge,
    progress: Progress = quiet,
) -> Submission:
    """Train and take exactly the declared files as the submission `out`.

    The container writes into `out` with the suffix `.work`, which outlives a killed run so that a
    trainer that keeps checkpoints there resumes.

    Raises:
        BusbenchError: `training-failed` and the limits' codes; `bundle-invalid`; `output-exists`.
    """
    remedy = "Name the `training` folder that `busbench seal` made."
    read(TrainingBundle, bundle / "bundle.json", "bundle-invalid", remedy)
    if out.exists():
        if not (out / "submission.yaml").exists():
            raise BusbenchError("output-exists", f"{out} is no submission.", "Name another folder.")
        return read_submission(out)
    work = work_folder(out)
    with disk_errors(work):
        work.mkdir(parents=True, exist_ok=True)
    stage = Stage(
        name="train",
        room="participant",
        image=settings.image,
        command=settings.command,
        inputs={"bundle": bundle, **settings.inputs},
        output=work,
        limits=challenge.limits.train,
        gpu=settings.gpu,
        log=out.with_name(f"{out.name}.train.log"),
    )
    runner.run(stage, progress)
    if not (work / "submission.yaml").exists():
        raise BusbenchError(
            "training-failed",
            "The container ended well but left no submission.yaml in its output.",
            "Write submission.yaml and the ONNX files it names into the output folder.",
        )
    submission = take(work, out)
    trained_by = settings.image or runner.identify("participant")
    fields = {"image": trained_by, "submission_sha256": submission.digest}
    write_atomically(trained_by_path(out), pretty_json(fields))
    shutil.rmtree(work, ignore_errors=True)
    return submission


def work_folder(submission: Path) -> Path:
    """Where a submission's container writes while it trains; it outlives a killed run."""
    return submission.with_name(f"{submission.name}.work")


def trained_by_path(submission: Path) -> Path:
    """Where the harness notes which image trained a submission: out of its container's reach."""
    return submission.with_name(f"{submission.name}.{TRAINED_BY}")
