"""The job that trains one fold of a reference network, in the sandbox, like any participant.

    FOLDER/submission/          submission.yaml and the fold's ONNX file
    FOLDER/submission.work/     the trainer's checkpoints, until the fold is done
    FOLDER/submission.train.log the trainer's log, with the curve
    FOLDER/result.json          last: its presence, with digests that hold, means done

What was trained by hand before goes on from there: a folder `given` holds what the trainer left,
`submission/` and `work/`. Whether that is the training asked for, the trainer itself decides.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import yaml

from evaluator.documents.base import Digest
from evaluator.documents.submission import Submission
from evaluator.errors import BusbenchError
from evaluator.files import disk_errors, write_atomically
from evaluator.progress import Progress
from harness.execution.inputs import Input
from harness.execution.job import ExecutionEnvironment, key_of, write_result
from harness.sandbox.stage import StageName
from harness.sealing.documents import TrainingBundle
from harness.sealing.keys import Keys
from harness.submission import read_submission
from harness.training.train import TrainSettings, train, work_folder

DOCUMENT = "submission.yaml"
TRAINER_WORK = ".work"  # where the trainer keeps its checkpoints, in the folder that it may write


@dataclass(frozen=True)
class Recipe:
    """A frozen recipe: the file that trains, and its digest."""

    network: str
    file: Path
    sha256: Digest


@dataclass(frozen=True)
class TrainFold:
    """One fold of one network on one track."""

    recipe: Recipe
    bundle: Input  # the folder with both bundles
    facts: TrainingBundle
    fold: int
    folder: Path
    given: Path
    keys: Path  # sign that it was trained here
    environment: ExecutionEnvironment
    kind = "train"

    @property
    def label(self) -> str:
        """See `Job`."""
        return f"train {self.recipe.network} on {self.facts.track}, fold {self.fold}"

    @property
    def key(self) -> Digest:
        """Recipe, cases and fold; how fast or where it is trained decides nothing."""
        return key_of(
            kind="train",
            network=self.recipe.network,
            recipe=self.recipe.sha256,
            split=self.facts.split_digest,
            cases=self.facts.cases_sha256,
            fold=self.fold,
        )

    @property
    def result(self) -> Path:
        """See `Job`."""
        return self.folder / "result.json"

    @property
    def submission(self) -> Path:
        """The folder with the fold's model."""
        return self.folder / "submission"

    @property
    def gpu(self) -> bool:
        """See `Job`."""
        return self.environment.train_gpu

    @property
    def stage(self) -> StageName | None:
        """See `Job`."""
        begun = self.environment.runner == "process" and work_folder(self.submission).exists()
        return "train" if begun else None

    def run(self, progress: Progress) -> None:
        """Train the fold; a killed training goes on from its last checkpoint."""
        self.result.unlink(missing_ok=True)  # it lies: a file of it is missing or was changed
        shutil.rmtree(self.submission, ignore_errors=True)
        if not work_folder(self.submission).exists():
            self._hand_over()
        device = "cuda" if self.gpu else "cpu"
        command = (
            *("train", "--config", "{recipe}", "--bundle", "{bundle}", "--fold", str(self.fold)),
            *("--out", "{out}", "--device", device, "--method", self.recipe.network),
        )
        settings = TrainSettings(None, command, self.gpu, inputs={"recipe": self.recipe.file})
        bundle, keys = self.bundle.here() / "training", Keys.open(self.keys)
        try:
            with self.environment.open_runner(progress, gpu=self.gpu) as runner:
                submission = train(
                    bundle,
                    self.submission,
                    settings,
                    runner,
                    self.environment.challenge,
                    progress,
                    keys,
                )
        except BusbenchError as error:
            if not self._mark.exists():
                raise
            hint = f"If {self.given} is of another training, remove it and {self.folder}."
            raise BusbenchError(error.code, error.message, f"{error.remedy} {hint}") from error
        names = (DOCUMENT, *(model.file for model in submission.models))
        files = {f"submission/{name}": self.submission / name for name in names}
        write_result(self, files, given=self._mark.exists())

    @property
    def _mark(self) -> Path:
        """A file that is there where this fold goes on from what was given."""
        return self.folder / "given"

    def _hand_over(self) -> None:
        """Lay what was given for this fold where the trainer looks for its own work."""
        place = work_folder(self.submission)
        partial = place.with_name(f".{place.name}.partial")
        with disk_errors(partial):
            shutil.rmtree(partial, ignore_errors=True)
            (partial / TRAINER_WORK).mkdir(parents=True)
            for path in sorted((self.given / "work").glob(f"fold-{self.fold}.*")):
                shutil.copyfile(path, partial / TRAINER_WORK / path.name)
            if (self.given / "submission" / DOCUMENT).exists():
                self._copy_model(self.given / "submission", partial)
            for path in (partial, *partial.rglob("*")):  # the container's user is nobody here
                path.chmod(0o777 if path.is_dir() else 0o666)
            if any(path.is_file() for path in partial.rglob("*")):
                write_atomically(self._mark, b"")
                partial.replace(place)

    def _copy_model(self, source: Path, copy: Path) -> None:
        submission = read_submission(source)
        ours = tuple(model for model in submission.models if model.fold == self.fold)
        if ours:
            shutil.copyfile(source / ours[0].file, copy / ours[0].file)
            write_document(submission.model_copy(update={"models": ours}), copy / DOCUMENT)


def write_document(submission: Submission, path: Path) -> None:
    """Write a submission's document as the YAML that it is handed in as."""
    text = yaml.safe_dump(submission.document(), sort_keys=False, allow_unicode=True)
    write_atomically(path, text.encode())
