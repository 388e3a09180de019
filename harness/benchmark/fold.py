"""Training job of one fold of a reference network, in the sandbox, like any participant's.

    FOLDER/submission/          submission.yaml and the fold's ONNX file
    FOLDER/submission.work/     the trainer's checkpoints, until the fold is done
    FOLDER/submission.train.log the trainer's log, with the curve
    FOLDER/result.json          last: its presence, with digests that agree, means done

A training that was begun by hand is continued: a folder `given` contains what the trainer left,
`submission/` and `work/`. Whether that is the training asked for, the trainer itself decides.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from evaluator.documents.base import Digest
from evaluator.errors import BusbenchError
from evaluator.files import disk_errors, write_atomically
from evaluator.progress import Progress
from harness.execution.job import key_of, write_result
from harness.submission import DOCUMENT, read_submission, write_document
from harness.training.train import TrainingJob, TrainSettings, submission_files, train, work_folder

TRAINER_WORK = "work"  # where the trainer keeps its checkpoints, in the folder that it may write


@dataclass(frozen=True)
class Recipe:
    """A frozen recipe: the file that trains, and its digest."""

    network: str
    file: Path
    sha256: Digest


@dataclass(frozen=True, kw_only=True)
class TrainFold(TrainingJob):
    """One fold of one network on one track; `bundle` is the folder with both bundles."""

    recipe: Recipe
    fold: int
    folder: Path
    given: Path

    @property
    def label(self) -> str:
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
        return self.folder / "result.json"

    @property
    def submission(self) -> Path:
        return self.folder / "submission"

    def run(self, progress: Progress) -> None:
        """Train the fold; a killed training goes on from its last checkpoint."""
        self.result.unlink(missing_ok=True)  # a file that it names is missing or was changed
        shutil.rmtree(self.submission, ignore_errors=True)
        if not work_folder(self.submission).exists():
            self._hand_over()
        settings = TrainSettings(None, self._command, self.gpu, inputs={"recipe": self.recipe.file})
        bundle = self.bundle.here() / "training"
        try:
            with self.environment.open(progress, gpu=self.gpu) as context:
                submission = train(bundle, self.submission, settings, context=context)
        except BusbenchError as error:
            if not self._mark.exists():
                raise
            hint = f"If {self.given} is of another training, remove it and {self.folder}."
            raise BusbenchError(error.code, error.message, f"{error.remedy} {hint}") from error
        files = submission_files(self.submission, submission)
        write_result(self, files, given=self._mark.exists())

    @property
    def _command(self) -> tuple[str, ...]:
        options = {
            "--config": "{recipe}",
            "--bundle": "{bundle}",
            "--fold": str(self.fold),
            "--out": "{out}",
            "--device": "cuda" if self.gpu else "cpu",
            "--method": self.recipe.network,
        }
        return ("train", *(word for option in options.items() for word in option))

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
