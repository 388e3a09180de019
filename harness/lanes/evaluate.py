"""`busbench evaluate`: gate, infer and score a submission, and state the result as a report.

    RUNS/<id>/submission/   the declared files, copied
    RUNS/<id>/gate/         gate.json          made by the gate container (the submission alone)
    RUNS/<id>/infer/        predictions        made by the infer container (images, no labels)
    RUNS/<id>/score/        scores, every case made by the score container (labels, no model)
    RUNS/<id>/report.dsse.json                 signed; its presence means done
    RUNS/<id>/notice.json                      of a run that failed: what its participant is told

The id is a digest of everything that decides the result, so the same evaluation resumes, and
another one never meets its files.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import harness
from evaluator.contract import (
    GateVerdict,
    Predictions,
    Provenance,
    Report,
    Scores,
    SealedBundle,
    Submission,
    read,
)
from evaluator.errors import BusbenchError
from evaluator.files import canonical_json, sha256_bytes
from evaluator.predictions import open_predictions
from evaluator.progress import Progress, quiet
from harness.challenge import Challenge, Room
from harness.lanes.check import gate_stage, read_verdict
from harness.lanes.intake import read_submission, take
from harness.lanes.steps import run_once, stage_key
from harness.lanes.trained_by import trained_here
from harness.ledger import SignedReport, sign, write_report
from harness.sandbox import Runner, Stage
from harness.sandbox.notice import write_notice
from harness.sealing.bundle import Bundles
from harness.sealing.keys import Keys

REPORT = "report.dsse.json"
NOTICE = "notice.json"
AGAIN = "Remove the run's folder and run the same command again."


@dataclass(frozen=True)
class EvaluateSettings:
    """How to run; the device is used or refused, never changed silently."""

    device: Literal["cpu", "cuda", "tensorrt"] = "cpu"
    batch_size: int | Literal["auto"] = "auto"
    backend: Literal["onnxruntime", "triton"] = "onnxruntime"

    @property
    def room(self) -> Room:
        """Where the model runs: a Triton server comes in the image of its client, whose container
        has no network to reach another; CUDA's libraries, which are large, in one of their own."""
        if self.backend == "triton":
            return "triton"
        return "infer" if self.device == "cpu" else "infer-gpu"


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation."""

    folder: Path
    report: Report
    signed: SignedReport


def evaluate(
    submission_folder: Path,
    bundles: Bundles,
    keys: Keys,
    runs: Path,
    runner: Runner,
    challenge: Challenge,
    settings: EvaluateSettings | None = None,
    progress: Progress = quiet,
) -> Evaluation:
    """Evaluate a submission on the sealed test set and sign the report.

    Raises:
        BusbenchError: whatever the submission, the bundles or the machine is to blame for.
    """
    settings = settings or EvaluateSettings()
    submission = read_submission(submission_folder)
    image = trained_here(submission_folder, submission, bundles.sealed.split_digest, keys)
    identities = identify(runner, settings)
    folder = runs / run_id(submission, bundles.sealed, identities, settings)
    if not (folder / "submission").is_dir():
        take(submission_folder, folder / "submission", bundles.sealed.track)
    runs.chmod(0o700)  # predictions and per-case results are the organiser's
    gate = gate_stage(folder / "submission", folder / "gate", challenge)
    try:
        files = SealedFiles(
            images=bundles.images,
            image_key=stage_key(keys.images.secret, folder / "keys"),
            labels=bundles.labels,
            label_key=stage_key(keys.labels.secret, folder / "keys"),
        )
        for stage in (gate, *infer_and_score(folder, files, challenge, settings)):
            run_once(runner, stage, progress)
    except BusbenchError as error:
        with suppress(BusbenchError):  # a full disk must not hide what it is about
            write_notice(error, folder / NOTICE)
        raise
    finally:
        shutil.rmtree(folder / "keys", ignore_errors=True)
    (folder / NOTICE).unlink(missing_ok=True)
    report = build_report(folder, submission, bundles, runner.name, identities, image)
    signed = sign(report, keys)
    write_report(signed, folder / REPORT)
    return Evaluation(folder, report, signed)


def identify(runner: Runner, settings: EvaluateSettings) -> dict[str, str]:
    """What each stage runs: image ids, or the process and its version."""
    return {
        "gate": runner.identify("infer"),
        "infer": runner.identify(settings.room),
        "score": runner.identify("score"),
    }


def run_id(
    submission: Submission,
    sealed: SealedBundle,
    identities: Mapping[str, str],
    settings: EvaluateSettings,
) -> str:
    """Sixteen digits that stand for everything that decides a result."""
    decides = {
        "submission": submission.digest,
        "split": sealed.split_digest,
        "images": sealed.images_sha256,
        "labels": sealed.labels_sha256,
        "evaluator": dict(identities),
        "device": settings.device,
        "batch_size": settings.batch_size,
        "backend": settings.backend,
    }
    return sha256_bytes(canonical_json(decides))[:16]


@dataclass(frozen=True)
class SealedFiles:
    """Sealed cases and the two keys that open them, each readable for a container's user."""

    images: Path
    image_key: Path
    labels: Path
    label_key: Path


def infer_and_score(
    folder: Path, files: SealedFiles, challenge: Challenge, settings: EvaluateSettings
) -> tuple[Stage, Stage]:
    """Who sees what: this table is the wall between the model and the labels.

    Args:
        folder: of the run; its `submission` has passed the gate, whose verdict is in `gate`.
    """
    limits = challenge.limits
    infer = Stage(
        name="infer",
        room=settings.room,
        command=(
            *("infer", "--submission", "{submission}", "--gate", "{gate}/gate.json"),
            *("--images", "{images}", "--key", "{key}", "--out", "{out}"),
            *("--device", settings.device, "--threads", str(max(1, int(limits.infer.cpus)))),
            *("--batch-size", str(settings.batch_size), "--backend", settings.backend),
        ),
        inputs={
            "submission": folder / "submission",
            "gate": folder / "gate",
            "images": files.images,
            "key": files.image_key,
        },
        output=folder / "infer",
        limits=limits.infer,
        gpu=settings.device != "cpu",
        log=folder / "infer.log",
    )
    return infer, score_stage(folder / "infer", folder, files.labels, files.label_key, challenge)


def score_stage(
    predictions: Path, folder: Path, labels: Path, key: Path, challenge: Challenge
) -> Stage:
    """The scorer, which sees predictions and labels; it writes to `folder/score`."""
    return Stage(
        name="score",
        room="score",
        command=(
            *("score", "--predictions", "{predictions}", "--labels", "{labels}"),
            *("--key", "{key}", "--out", "{out}"),
        ),
        inputs={"predictions": predictions, "labels": labels, "key": key},
        output=folder / "score",
        limits=challenge.limits.score,
        log=folder / "score.log",
    )


def build_report(
    folder: Path,
    submission: Submission,
    bundles: Bundles,
    runner: Literal["docker", "process"],
    identities: Mapping[str, str],
    trained_here: str | None,
) -> Report:
    """State what a finished run's files amount to.

    Raises:
        BusbenchError: `predictions-invalid` or `stage-crashed` where they contradict each other.
    """
    verdict: GateVerdict = read_verdict(folder / "gate")
    predictions: Predictions = open_predictions(folder / "infer")
    scores = read(Scores, folder / "score" / "scores.json", "stage-crashed", AGAIN)
    digests = {submission.digest, verdict.submission_sha256, predictions.submission_sha256}
    if len(digests) > 1:
        raise BusbenchError(
            "predictions-invalid", f"{folder} holds files of two submissions.", AGAIN
        )
    sealed = bundles.sealed
    return Report(
        team=submission.team,
        method=submission.method,
        track=sealed.track,
        dataset=sealed.dataset,
        split_version=sealed.split_version,
        labels=sealed.labels,
        status="complete" if _is_complete(submission, scores, sealed.folds) else "incomplete",
        scores=scores,
        models=verdict.models,
        runtime=predictions.runtime,
        provenance=Provenance(
            submission_sha256=submission.digest,
            models_sha256=tuple(model.sha256 for model in submission.models),
            split_digest=sealed.split_digest,
            sealed_images_sha256=sealed.images_sha256,
            sealed_labels_sha256=sealed.labels_sha256,
            predictions_sha256=scores.predictions_sha256,
            evaluator=dict(identities),
            runner=runner,
            busbench=harness.__version__,
            trained_here=trained_here,
        ),
    )


def _is_complete(submission: Submission, scores: Scores, folds: int) -> bool:
    """A result counts when every fold's model gave a valid mask for every test case."""
    named = {model.fold for model in submission.models}
    return scores.invalid == 0 and named in ({None}, set(range(folds)))
