"""The job that trains a participant's image, or our networks, on one training bundle.

OUT/               the submission, moved there in whole
OUT.work/          what the container saves while it trains, until it is done
OUT.train.log      its log
OUT.claim          which training OUT is of, from before it is begun
OUT.result.json    last: its presence, with digests that hold, means done
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from evaluator.documents.base import Digest
from evaluator.documents.submission import Submission
from evaluator.errors import BusbenchError, Code
from evaluator.files import sha256_file, write_atomically
from evaluator.progress import Progress
from harness.benchmark.fold import DOCUMENT
from harness.execution.inputs import Input
from harness.execution.job import ExecutionEnvironment, key_of, write_result
from harness.sandbox import DockerRunner, Runner
from harness.sandbox.references import ImageRequest, resolve
from harness.sandbox.stage import StageName
from harness.sealing.documents import TrainingBundle
from harness.sealing.keys import Keys
from harness.training.train import TrainSettings, train, work_folder

REFERENCE = "reference"  # the name of our own image
ANOTHER = "Name another folder with --out, or remove this one and what lies beside it."


@dataclass(frozen=True)
class TrainImage:
    """One image on one training bundle."""

    name: str  # what people call the image
    wanted: ImageRequest  # by digest or id, since a tag may mean another image on another machine
    command: tuple[str, ...]
    bundle: Input  # the training bundle
    facts: TrainingBundle
    out: Path
    keys: Path | None  # sign that it was trained here
    environment: ExecutionEnvironment
    kind = "train"

    @property
    def label(self) -> str:
        """See `Job`."""
        return f"train {self.name} on {self.facts.track}"

    @property
    def key(self) -> Digest:
        """Image, command and cases; how fast or where it is trained decides nothing."""
        return key_of(
            kind="train-image",
            image=self.wanted.name,
            command=self.command,
            split=self.facts.split_digest,
            cases=self.facts.cases_sha256,
        )

    @property
    def result(self) -> Path:
        """See `Job`."""
        return self.out.with_name(f"{self.out.name}.result.json")

    @property
    def gpu(self) -> bool:
        """See `Job`."""
        return self.environment.train_gpu

    @property
    def stage(self) -> StageName | None:
        """See `Job`."""
        begun = self.environment.runner == "process" and work_folder(self.out).exists()
        return "train" if begun else None

    def run(self, progress: Progress) -> None:
        """Train; a killed training finds what it had saved."""
        self._claim()
        keys = None if self.keys is None else Keys.open(self.keys)
        bundle = self.bundle.here()
        with self.environment.open_runner(progress, gpu=self.gpu) as runner:
            image = image_id(runner, self.wanted, progress)
            settings = TrainSettings(image, self.command, self.gpu)
            submission = train(
                bundle, self.out, settings, runner, self.environment.challenge, progress, keys
            )
        self._demand_whole(submission)
        names = (DOCUMENT, *(model.file for model in submission.models))
        write_result(self, {f"{self.out.name}/{name}": self.out / name for name in names})

    def _claim(self) -> None:
        """Say whose OUT will be; a submission or checkpoints of another training are never taken
        for this one's."""
        claim = self.out.with_name(f"{self.out.name}.claim")
        begun = self.out.exists() or work_folder(self.out).exists()
        told = claim.read_text() if claim.exists() else ""
        if begun and told != self.key:
            message = f"{self.out} is of another training, or nothing tells which."
            raise BusbenchError(Code.OUTPUT_EXISTS, message, ANOTHER)
        write_atomically(claim, self.key.encode())

    def _demand_whole(self, submission: Submission) -> None:
        for model in submission.models:
            path = self.out / model.file
            if not path.is_file() or sha256_file(path) != model.sha256:
                message = f"{path} is missing or was changed after training."
                raise BusbenchError(Code.OUTPUT_EXISTS, message, ANOTHER)


def image_id(runner: Runner, wanted: ImageRequest, progress: Progress) -> str | None:
    """The image by its id, which no tag can move; None for our own.

    Raises:
        BusbenchError: see `resolve`.
    """
    if wanted.name == REFERENCE:
        return None
    if isinstance(runner, DockerRunner):
        return resolve(runner.client, wanted, progress)
    return wanted.name
