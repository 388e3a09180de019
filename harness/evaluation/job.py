"""Base of the jobs that run a submission's model, on the test set or on validation folds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from evaluator.documents.base import Digest
from evaluator.documents.submission import AnySubmission, ImageSubmission
from evaluator.files import disk_errors
from evaluator.progress import Progress
from harness.declared import require_track
from harness.evaluation.images import require_accepted, require_image_settings
from harness.evaluation.settings import EvaluateSettings
from harness.evaluation.stage_output import begun_stage
from harness.execution.inputs import Input, offer
from harness.execution.job import ExecutionEnvironment, key_of
from harness.ledger.provenance import provenance_path
from harness.sandbox.stage import StageName
from harness.sealing.documents import SealedBundle, TrainingBundle
from harness.submission import DOCUMENT, require_folds

Cases = TypeVar("Cases", SealedBundle, TrainingBundle)


@dataclass(frozen=True)
class SubmissionJob(ABC, Generic[Cases]):
    """One submission on the cases of one bundle; see `Job`.

    Raises:
        BusbenchError: `challenge-invalid` where challenge.yaml does not declare the track so,
            `submission-invalid` where the models are neither one a fold nor one for all.
    """

    submission: Input
    facts: AnySubmission
    bundle: Input  # what `cases` describes
    cases: Cases
    runs: Path
    environment: ExecutionEnvironment
    settings: EvaluateSettings = field(default_factory=EvaluateSettings)
    kind: ClassVar[str]
    prefix: ClassVar[str] = ""  # of the run's folder

    def __post_init__(self) -> None:
        require_track(self.environment.challenge, self.cases.stated_track, self.bundle.path)
        require_folds(self.facts, self.folds, DOCUMENT)
        require_accepted(self.environment.challenge, self.facts, DOCUMENT, track=self.cases.track)
        if isinstance(self.facts, ImageSubmission):
            require_image_settings(self.settings, self.environment.runner)

    @abstractmethod
    def tested_on(self) -> dict[str, object]:
        """What of the cases decides the result, for the key."""

    @abstractmethod
    def run(self, progress: Progress) -> None: ...

    @property
    def folds(self) -> int:
        """How many folds the submission's own track has."""
        return self.cases.folds

    @property
    def label(self) -> str:
        return f"{self.kind} {self.facts.method} of {self.facts.team} on {self.cases.track}"

    @property
    def key(self) -> Digest:
        """The submission, the cases that it is scored on, and what scores it."""
        return key_of(
            kind=self.kind,
            submission=self.facts.digest,
            **self.tested_on(),
            **self.settings.decides(self.environment.runner, self.environment.challenge),
        )

    @property
    def folder(self) -> Path:
        """Where all of it is kept."""
        return self.runs / f"{self.prefix}{self.key[:16]}"

    @property
    def result(self) -> Path:
        return self.folder / "result.json"

    @property
    def gpu(self) -> bool:
        return self.settings.device != "cpu"

    @property
    def stage(self) -> StageName | None:
        if self.environment.runner != "process":
            return None
        folders: list[Path] = [self.folder]
        for pattern in ("fold-*", "fold-*/fp32"):
            folders += sorted(self.folder.glob(pattern))
        return next(filter(None, map(begun_stage, folders)), None)


def make_run_folder(folder: Path) -> Path:
    """Make a run's folder, closed to other users: it contains predictions and per-case results.

    The folder of all runs stays as it is, since it may be shared or contain other things, but for
    the copies of keys that a killed evaluation of an older version left in it.
    """
    with disk_errors(folder):
        for left in folder.parent.glob(f"{'[0-9a-f]' * 16}/keys/*.key"):
            left.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    return folder


def submission_input(folder: Path, facts: AnySubmission, address: str | None) -> Input:
    """A submission's declared files, and the attestation of who trained it, for a job.

    Args:
        address: where they are put for other machines; null: all machines see `folder`.

    Raises:
        BusbenchError: `input-unavailable` where the address takes nothing.
    """
    declared = [folder / name for name in (DOCUMENT, *(m.file for m in facts.models))]
    return offer(folder, [*declared, provenance_path(folder)], address)
