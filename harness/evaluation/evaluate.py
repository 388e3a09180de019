"""`busbench evaluate`: gate, infer and score a submission, and state the result as a report.

    RUNS/<id>/submission/   the declared files, copied
    RUNS/<id>/gate/         gate.json          made by the gate container (the submission alone)
    RUNS/<id>/infer/        predictions        made by the infer container (images, no labels)
    RUNS/<id>/score/        scores, every case made by the score container (labels, no model)
    RUNS/<id>/report.dsse.json                 signed; its presence means done
    RUNS/<id>/ready.log                        where inference failed: could it run here at all?
    RUNS/<id>/participant-error.json     of a run that failed: what its participant is told

The id is a digest of everything that decides the result, so the same evaluation resumes, and
another one never meets its files.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from evaluator.contract import Report, SealedBundle, Submission
from evaluator.errors import BusbenchError, Fault
from evaluator.files import canonical_json, sha256_bytes
from evaluator.progress import Progress, quiet
from harness.challenge import Challenge, Component, StatedTrack, require_track
from harness.evaluation.check import gate_stage
from harness.evaluation.report import build_report
from harness.ledger import SignedReport, sign, write_report
from harness.ledger.provenance import trained_here
from harness.sandbox import Runner, Stage
from harness.sandbox.cached import run_once, stage_key
from harness.sandbox.participant_error import NOTICE, reported_to_participant
from harness.sealing.bundle import Bundles
from harness.sealing.keys import Keys
from harness.submission import read_submission, take

REPORT = "report.dsse.json"


@dataclass(frozen=True)
class EvaluateSettings:
    """How to run; the device is used or refused, never changed silently."""

    device: Literal["cpu", "cuda", "tensorrt"] = "cpu"
    batch_size: int | Literal["auto"] = "auto"
    backend: Literal["onnxruntime", "triton"] = "onnxruntime"

    @property
    def component(self) -> Component:
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
    require_track(challenge, StatedTrack.of(bundles.sealed), bundles.path)
    submission = read_submission(submission_folder)
    image = trained_here(submission_folder, submission, bundles.sealed.split_digest, keys)
    how = How(runner, challenge, settings or EvaluateSettings(), progress)
    folder = runs / run_id(submission, bundles.sealed, how.identities, how.settings)
    how.take_in(submission_folder, folder, bundles.sealed.track)
    runs.chmod(0o700)  # predictions and per-case results are the organiser's
    try:
        with reported_to_participant(folder / NOTICE):
            how.gate(folder)
            files = SealedFiles(
                images=bundles.images,
                image_key=stage_key(keys.images.secret, folder / "keys"),
                labels=bundles.labels,
                label_key=stage_key(keys.labels.secret, folder / "keys"),
            )
            how.infer_and_score(folder, files)
    finally:
        shutil.rmtree(folder / "keys", ignore_errors=True)
    report = build_report(folder, submission, bundles, runner.name, how.identities, image)
    signed = sign(report, keys)
    write_report(signed, folder / REPORT)
    return Evaluation(folder, report, signed)


def identify(runner: Runner, settings: EvaluateSettings) -> dict[str, str]:
    """What each stage runs: image ids, or the process and its version."""
    component = runner.identify(settings.component)  # first, since it may ask for a device
    return {
        "gate": runner.identify("infer"),
        "infer": component,
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


@dataclass(frozen=True)
class How:
    """How an evaluation's stages are run, one after the other; what is done is not done again."""

    runner: Runner
    challenge: Challenge
    settings: EvaluateSettings
    progress: Progress

    @cached_property
    def identities(self) -> dict[str, str]:
        """What each stage runs."""
        return identify(self.runner, self.settings)

    def take_in(self, submission: Path, folder: Path, track: str) -> None:
        """Copy the declared files into the run's folder; see `harness.submission.take`."""
        if not (folder / "submission").is_dir():
            take(submission, folder / "submission", track)

    def gate(self, folder: Path) -> None:
        """Have the gate judge the submission in `folder`."""
        self._run(gate_stage(folder / "submission", folder / "gate", self.challenge))

    def infer_and_score(self, folder: Path, files: SealedFiles) -> None:
        """Run the model of `folder`, whose `submission` passed the gate, and score its masks.

        Before a submission is blamed for inference, a container without it tries whether the key,
        the images and the device are there: what the stage itself says of them is not believed.
        """
        infer = infer_stage(folder, files, self.challenge, self.settings)
        try:
            self._run(infer)
        except BusbenchError as error:
            if error.fault is Fault.SUBMISSION:
                self._demand_ready(infer)
            raise
        self._run(
            score_stage(folder / "infer", folder, files.labels, files.label_key, self.challenge)
        )

    def _run(self, stage: Stage) -> None:
        run_once(self.runner, stage, self.progress)

    def _demand_ready(self, infer: Stage) -> None:
        with tempfile.TemporaryDirectory(prefix="busbench-ready-") as name:
            ready = replace(ready_stage(infer, self.settings), output=Path(name))
            self.runner.run(ready, self.progress)


def infer_stage(
    folder: Path, files: SealedFiles, challenge: Challenge, settings: EvaluateSettings
) -> Stage:
    """The model, which sees images and no labels: with `score_stage`, the wall between the two.

    Args:
        folder: of the run; its `submission` has passed the gate, whose verdict is in `gate`.
    """
    limits = challenge.limits.infer
    return Stage(
        name="infer",
        component=settings.component,
        command=(
            *("infer", "--submission", "{submission}", "--gate", "{gate}/gate.json"),
            *_on_images(settings, limits.cpus),
        ),
        inputs={
            "submission": folder / "submission",
            "gate": folder / "gate",
            "images": files.images,
            "key": files.image_key,
        },
        output=folder / "infer",
        limits=limits,
        gpu=settings.device != "cpu",
        log=folder / "infer.log",
    )


def ready_stage(infer: Stage, settings: EvaluateSettings) -> Stage:
    """As `infer`, but without anything of a participant's: what it says can be believed."""
    return replace(
        infer,
        name="ready",
        command=("ready", *_on_images(settings, infer.limits.cpus)),
        inputs={name: infer.inputs[name] for name in ("images", "key")},
        log=infer.output.with_name("ready.log"),
    )


def _on_images(settings: EvaluateSettings, cpus: float) -> tuple[str, ...]:
    return (
        *("--images", "{images}", "--key", "{key}", "--out", "{out}"),
        *("--device", settings.device, "--threads", str(max(1, int(cpus)))),
        *("--batch-size", str(settings.batch_size), "--backend", settings.backend),
    )


def score_stage(
    predictions: Path, folder: Path, labels: Path, key: Path, challenge: Challenge
) -> Stage:
    """The scorer, which sees predictions and labels; it writes to `folder/score`."""
    return Stage(
        name="score",
        component="score",
        command=(
            *("score", "--predictions", "{predictions}", "--labels", "{labels}"),
            *("--key", "{key}", "--out", "{out}"),
        ),
        inputs={"predictions": predictions, "labels": labels, "key": key},
        output=folder / "score",
        limits=challenge.limits.score,
        log=folder / "score.log",
    )
