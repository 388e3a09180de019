"""`busbench train`: train a participant's image on the training bundle, inside the sandbox."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from evaluator.contract import Submission, TrainingBundle, read
from evaluator.errors import BusbenchError, Code
from evaluator.files import disk_errors
from evaluator.progress import Progress, quiet
from harness.challenge import Challenge, StatedTrack, require_track
from harness.ledger.provenance import ProvenanceAttestation, write_provenance
from harness.sandbox import Runner, Stage
from harness.sandbox.participant_error import NOTICE, reported_to_participant
from harness.sealing.keys import Keys
from harness.submission import read_submission, take


@dataclass(frozen=True)
class TrainSettings:
    """What runs in the training container."""

    image: str | None  # a local image's id; null: the bundled reference networks
    command: tuple[str, ...]  # may hold {bundle}, {out} and the names of `inputs`
    gpu: bool = False
    track: str | None = None  # that the bundle must be of; null: any
    inputs: Mapping[str, Path] = field(default_factory=dict)  # what it reads beside the bundle


def read_facts(bundle: Path, track: str | None) -> TrainingBundle:
    """What a training bundle says of itself.

    Args:
        track: that it must be of; null: any.

    Raises:
        BusbenchError: `bundle-invalid`.
    """
    remedy = "Name the `training` folder that `busbench seal` made."
    told = read(TrainingBundle, bundle / "bundle.json", Code.BUNDLE_INVALID, remedy)
    if track not in (None, told.track):
        message = f"{bundle} is of track {told.track}, not {track}."
        raise BusbenchError(Code.BUNDLE_INVALID, message, remedy)
    return told


def train(
    bundle: Path,
    out: Path,
    settings: TrainSettings,
    runner: Runner,
    challenge: Challenge,
    progress: Progress = quiet,
    keys: Keys | None = None,
) -> Submission:
    """Train and take exactly the declared files as the submission `out`.

    What the container writes is saved in `out` with the suffix `.work` while it trains, and lies in
    its output again after a killed run, so that a trainer that keeps checkpoints there resumes.
    `.participant-error.json` lies beside it where the training failed, for its participant.

    Args:
        keys: the organiser's; they sign the note by which the result counts as trained here.

    Raises:
        BusbenchError: `training-failed` and the limits' codes; `bundle-invalid`; `output-exists`.
    """
    told = read_facts(bundle, settings.track)
    require_track(challenge, StatedTrack.of(told), bundle)
    if out.exists():
        if not (out / "submission.yaml").exists():
            raise BusbenchError(
                Code.OUTPUT_EXISTS, f"{out} is no submission.", "Name another folder."
            )
        return read_submission(out)
    work = work_folder(out)
    with disk_errors(work):
        work.mkdir(parents=True, exist_ok=True)
    stage = Stage(
        name="train",
        component="participant",
        image=settings.image,
        command=settings.command,
        inputs={"bundle": bundle, **settings.inputs},
        output=work,
        limits=challenge.limits.train,
        gpu=settings.gpu,
        resumes=True,
        log=out.with_name(f"{out.name}.train.log"),
    )
    taken = out.with_name(f".{out.name}.taken")
    with reported_to_participant(out.with_name(f"{out.name}.{NOTICE}")):
        runner.run(stage, progress)
        submission = _take(work, taken, told.track)
    if keys is not None:
        note = ProvenanceAttestation(
            image=settings.image or runner.identify("participant"),
            submission_sha256=submission.digest,
            split_digest=told.split_digest,
        )
        write_provenance(note, out, keys)
    taken.replace(out)  # last, since a submission that is there is not trained again
    shutil.rmtree(work, ignore_errors=True)
    return submission


def _take(work: Path, taken: Path, track: str) -> Submission:
    """What the container left; what is wrong with it is told as if it had said so itself."""
    try:
        if (work / "submission.yaml").exists():
            return take(work, taken, track)
    except BusbenchError as error:
        said = {"stage": "train", "last_line": error.message}
        raise BusbenchError(error.code, error.message, error.remedy, **said) from error
    message = "The container ended well but left no submission.yaml in its output."
    remedy = "Write submission.yaml and the ONNX files it names into the output folder."
    raise BusbenchError(Code.TRAINING_FAILED, message, remedy, stage="train", last_line=message)


def work_folder(submission: Path) -> Path:
    """Where a submission's container writes while it trains; it outlives a killed run."""
    return submission.with_name(f"{submission.name}.work")
