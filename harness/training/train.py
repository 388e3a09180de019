"""Training job: a participant's image, or our networks, on one training bundle, in the sandbox.

OUT/                         the submission, moved there in whole
OUT.work/                    what the container saves while it trains, until it is done
OUT.train.log                its log
OUT.claim                    which training OUT is of, from before it is begun
OUT.seconds                  of its time limit, what it has taken, until it is done
OUT.provenance.json          the signed attestation that it was trained here
OUT.participant-error.json   where the training failed: what its participant may read
OUT.result.json              last: its presence, with digests that agree, means done
"""

from __future__ import annotations

import shutil
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from evaluator.documents.base import Digest, read
from evaluator.documents.submission import Submission
from evaluator.errors import BusbenchError, Code
from evaluator.files import disk_errors, sha256_file, write_atomically
from evaluator.progress import Progress
from harness.declared import require_track
from harness.execution.inputs import Input
from harness.execution.job import ExecutionEnvironment, key_of, write_result
from harness.ledger.provenance import ProvenanceAttestation, write_provenance
from harness.sandbox import Runner, Stage
from harness.sandbox.cached import Context
from harness.sandbox.docker_runner import DockerRunner
from harness.sandbox.participant_error import ERROR_FILE, reported_to_participant
from harness.sandbox.references import ImageRequest, resolve
from harness.sandbox.sources import sources_digest
from harness.sandbox.stage import StageName
from harness.sealing.documents import TrainingBundle
from harness.sealing.keys import Keys
from harness.submission import DOCUMENT, read_submission, take
from harness.training.clock import counted, read_seconds, require_time

REFERENCE = "reference"  # the name of our own image
ANOTHER = "Name another folder with --out, or remove this one and the files beside it."


@dataclass(frozen=True)
class TrainSettings:
    """What is trained, and how."""

    image: str | None  # a participant's local image by id; null: the bundled reference networks
    command: tuple[str, ...]  # may hold {bundle}, {out} and the names of `inputs`
    gpu: bool = False
    inputs: Mapping[str, Path] = field(default_factory=dict)  # what it reads beside the bundle


@dataclass(frozen=True, kw_only=True)
class TrainingJob(ABC):
    """Training of one submission in a container; see `Job`.

    Raises:
        BusbenchError: `challenge-invalid` where challenge.yaml does not declare the track so.
    """

    bundle: Input
    facts: TrainingBundle  # what `bundle` states of itself
    environment: ExecutionEnvironment  # its keys, where there are any, sign that it trained here
    gpu: bool = False
    kind: ClassVar[str] = "train"

    def __post_init__(self) -> None:
        require_track(self.environment.challenge, self.facts.stated_track, self.bundle.path)

    @property
    @abstractmethod
    def submission(self) -> Path:
        """The folder that the trained submission is moved to."""

    @property
    def stage(self) -> StageName | None:
        begun = self.environment.runner == "process" and work_folder(self.submission).exists()
        return "train" if begun else None


@dataclass(frozen=True, kw_only=True)
class TrainImage(TrainingJob):
    """One image on one training bundle."""

    name: str  # what people call the image
    image: ImageRequest  # by digest or id, since a tag may mean another image on another machine
    command: tuple[str, ...]
    out: Path

    @property
    def submission(self) -> Path:
        return self.out

    @property
    def label(self) -> str:
        return f"train {self.name} on {self.facts.track}"

    @property
    def key(self) -> Digest:
        """Image, command and cases; how fast or where it is trained decides nothing."""
        image = self.image.name
        if image == REFERENCE:
            image = sources_digest("participant", self.environment.challenge.images)
        return key_of(
            kind="train-image",
            image=image,
            command=self.command,
            split=self.facts.split_digest,
            cases=self.facts.cases_sha256,
        )

    @property
    def result(self) -> Path:
        return self.out.with_name(f"{self.out.name}.result.json")

    def run(self, progress: Progress) -> None:
        """Train; a killed training finds what it had saved."""
        self._claim()
        if not self.out.exists():
            bundle = self.bundle.here()
            with self.environment.open(progress, gpu=self.gpu) as context:
                image = image_id(context.runner, self.image, progress)
                settings = TrainSettings(image, self.command, self.gpu)
                train(bundle, self.out, settings, context=context)
        submission = read_submission(self.out)
        self._require_whole(submission)
        write_result(self, submission_files(self.out, submission))

    def _claim(self) -> None:
        """State which training OUT is of.

        A submission or checkpoints of another training are never taken for this one's.
        """
        claim = self.out.with_name(f"{self.out.name}.claim")
        begun = self.out.exists() or work_folder(self.out).exists()
        claimed = claim.read_text() if claim.exists() else ""
        if begun and claimed != self.key:
            message = f"{self.out} is of another training, or nothing tells which."
            raise BusbenchError(Code.OUTPUT_EXISTS, message, ANOTHER)
        write_atomically(claim, self.key.encode())

    def _require_whole(self, submission: Submission) -> None:
        for model in submission.models:
            path = self.out / model.file
            if not path.is_file() or sha256_file(path) != model.sha256:
                message = f"{path} is missing or was changed after training."
                raise BusbenchError(Code.OUTPUT_EXISTS, message, ANOTHER)


def submission_files(folder: Path, submission: Submission) -> dict[str, Path]:
    """The files of a trained submission, by their names beside its folder, for a job's result."""
    names = (DOCUMENT, *(model.file for model in submission.models))
    return {f"{folder.name}/{name}": folder / name for name in names}


def image_id(runner: Runner, image: ImageRequest, progress: Progress) -> str | None:
    """The image by its id, which no tag can move; None for our own.

    Raises:
        BusbenchError: see `resolve`.
    """
    if image.name == REFERENCE:
        return None
    if isinstance(runner, DockerRunner):
        return resolve(runner.client, image, progress)
    return image.name


def read_facts(bundle: Path, track: str | None = None) -> TrainingBundle:
    """The document of a training bundle.

    Args:
        track: that it must be of; null: any.

    Raises:
        BusbenchError: `bundle-invalid`.
    """
    remedy = "Name the `training` folder that `busbench seal` made."
    facts = read(TrainingBundle, bundle / "bundle.json", Code.BUNDLE_INVALID, remedy=remedy)
    if track not in (None, facts.track):
        message = f"{bundle} is of track {facts.track}, not {track}."
        raise BusbenchError(Code.BUNDLE_INVALID, message, remedy)
    return facts


def train(bundle: Path, out: Path, settings: TrainSettings, *, context: Context) -> Submission:
    """Train and take exactly the declared files as the submission `out`, which is not there yet.

    What the container writes is saved in `out` with the suffix `.work` while it trains, and is in
    its output again after a killed run, so that a trainer that keeps checkpoints there resumes.

    Args:
        context: its keys, where there are any, sign the attestation that the result was trained
            here.

    Raises:
        BusbenchError: `training-failed` and the limits' codes; `bundle-invalid`.
    """
    facts = read_facts(bundle)
    work, seconds = work_folder(out), out.with_name(f"{out.name}.seconds")
    with disk_errors(work):
        if not work.exists():  # what is begun anew has all of its time
            seconds.unlink(missing_ok=True)
        work.mkdir(parents=True, exist_ok=True)
    stage = Stage(
        name="train",
        component="participant",
        image=settings.image,
        command=settings.command,
        inputs={"bundle": bundle, **settings.inputs},
        output=work,
        limits=context.challenge.limits.train,
        gpu=settings.gpu,
        resumes=True,
        log=out.with_name(f"{out.name}.train.log"),
        spent=read_seconds(seconds),
    )
    taken = out.with_name(f".{out.name}.taken")
    with reported_to_participant(out.with_name(f"{out.name}.{ERROR_FILE}")):
        require_time(stage)
        if settings.image is None:  # its making is none of the training's time
            context.runner.identify("participant")
        with counted(seconds, stage.spent):
            context.runner.run(stage, context.progress)
        submission = _take(work, taken, facts.track)
    if context.keys is not None:
        attestation = ProvenanceAttestation(
            image=settings.image or context.runner.identify("participant"),
            submission_sha256=submission.digest,
            split_digest=facts.split_digest,
        )
        write_provenance(attestation, out, Keys.open(context.keys))
    taken.replace(out)  # last, since a submission that is there is not trained again
    shutil.rmtree(work, ignore_errors=True)
    seconds.unlink(missing_ok=True)
    return submission


def _take(work: Path, taken: Path, track: str) -> Submission:
    """What the container left; what is wrong with it is reported as the container's last line."""
    try:
        if (work / DOCUMENT).exists():
            read_submission(work)
            take(work, taken, track)
            return read_submission(taken)
    except BusbenchError as error:
        raise BusbenchError(
            error.code, error.message, error.remedy, stage="train", last_line=error.message
        ) from error
    message = "The container ended well but left no submission.yaml in its output."
    remedy = (
        "Write submission.yaml and the ONNX files it names into /out; an ENTRYPOINT in the shell's "
        "form, without brackets, is never given its place."
    )
    raise BusbenchError(Code.TRAINING_FAILED, message, remedy, stage="train", last_line=message)


def work_folder(submission: Path) -> Path:
    """Where a submission's container writes while it trains; it outlives a killed run."""
    return submission.with_name(f"{submission.name}.work")
