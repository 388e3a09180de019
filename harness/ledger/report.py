"""The report of an evaluation, and its identity: what is signed and recorded."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from evaluator.documents.base import GROUP_BY_GROUP, CaseId, Contract, Digest, Name, Title
from evaluator.documents.inference import CountedModel, Precision, Runtime
from evaluator.documents.notes import MethodNotes
from evaluator.documents.reading import Bounds
from evaluator.documents.scores import Scores
from evaluator.documents.submission import ImageDigest
from evaluator.files import canonical_json, sha256_bytes
from harness.challenge import HiddenPart, LabelAccess
from harness.declared import StatedTrack
from harness.sandbox.stage import RunnerName

Count = Annotated[int, Field(ge=0)]
Dice = Annotated[float, Field(ge=0, le=1)]
Status = Literal["complete", "incomplete"]


class Provenance(Contract):
    """What produced a report, by digest."""

    submission_sha256: Digest
    image: ImageDigest | None = None  # of a container image that predicts, else null
    models_sha256: tuple[Digest, ...]  # none of an image
    split_digest: Digest
    sealed_images_sha256: Digest
    sealed_labels_sha256: Digest
    predictions_sha256: Digest
    evaluator: dict[str, str]  # stage -> image id, or `process` and the version; `base`
    runner: RunnerName
    busbench: str
    trained_here: str | None  # image id of the training container, else null


class HomeTrack(Contract):
    """The track that a submission was trained on, where it is tested on another one."""

    track: Name
    dataset: Name
    split_version: Name
    split_digest: Digest
    twins_sha256: Digest  # of the cross-audit that names the twins
    left_out: tuple[
        CaseId, ...
    ]  # test cases of patients with a twin in its training part: not scored


class PrecisionLoss(Contract):
    """What a precision changes on the validation cases, each fold's model on its own."""

    precision: Precision
    cases: Count
    dice_fp32: Dice  # mean over the folds
    dice: Dice  # the same in the precision
    masks: Count  # that differ
    pixels: Count  # that differ

    @property
    def dice_lost(self) -> float:
        """By how much the mean Dice is lower than in fp32; below 0 where it is higher."""
        return self.dice_fp32 - self.dice

    def check(self, limit: float | None) -> str | None:
        """How it is over a track's limit, in half a sentence; None where it is not."""
        if limit is None or self.dice_lost <= limit:
            return None
        lost = (
            f"in {self.precision} its masks lose {self.dice_lost:.5f} Dice on the validation cases"
        )
        return f"{lost}, over the limit of {limit:g}"


class Report(Contract):
    """The predicate of a signed report."""

    bounds: ClassVar[Bounds] = GROUP_BY_GROUP
    schema_: Literal["busbench/report/v5"] = Field(default="busbench/report/v5", alias="schema")
    team: Title
    method: Title
    notes: MethodNotes = MethodNotes()  # what the team says of the method
    track: Name
    dataset: Name
    split_version: Name
    part: HiddenPart = "test"  # of the split, that it was scored on
    labels: LabelAccess
    status: Status
    scores: Scores
    models: tuple[CountedModel, ...]
    runtime: Runtime
    precision_loss: PrecisionLoss | None = None  # null in fp32
    home: HomeTrack | None = Field(default=None, exclude_if=lambda value: value is None)
    # ^ None where it was trained on this very track
    provenance: Provenance

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if {model.sha256 for model in self.models} != set(self.provenance.models_sha256):
            raise ValueError("models and provenance name different model files")
        kinds = {bool(self.models), not self.is_image, self.runtime.backend != "image"}
        if len(kinds) > 1:
            raise ValueError("a report is of models or of a container image")
        if self.home is not None and self.home.track == self.track:
            raise ValueError("home: it is the track of the report")
        lost = self.precision_loss and self.precision_loss.precision
        if lost != (None if self.runtime.precision == "fp32" else self.runtime.precision):
            raise ValueError("runtime and precision_loss are of different precisions")
        if self.scores.predictions_sha256 != self.provenance.predictions_sha256:
            raise ValueError("scores and provenance name different predictions")
        published = self.scores.awesome_bus_2025.metrics.values()
        for metrics in (published, *(g.metrics.values() for g in self.scores.groups.values())):
            if any(len(metric.folds) != (len(self.models) or 1) for metric in metrics):
                raise ValueError("scores and models are of different numbers of folds")
        return self

    @property
    def is_image(self) -> bool:
        """Whether it is of a container image, whose parameters nobody can count."""
        return self.provenance.image is not None

    @property
    def stated_track(self) -> StatedTrack:
        """What it says of its track; of the folds nothing where they are not its own."""
        own = self.status == "complete" and self.home is None
        apart = own and all(m.fold is not None for m in self.models)
        folds = len(self.models) or None if apart else None
        named = (self.track, self.dataset, self.split_version)
        return StatedTrack(
            *named, folds, self.scores.metric_profile.label, self.labels, self.runtime.precision
        )

    @property
    def left_out(self) -> tuple[CaseId, ...]:
        """Test cases that were not scored: of a submission that was trained on another track."""
        return () if self.home is None else self.home.left_out

    def origin(self) -> dict[str, Any]:
        """All that scoring its predictions anew may not change: what was scored, and its origin."""
        document = self.document()
        for scored in ("schema", "scores", "status"):
            del document[scored]
        document["provenance"]["evaluator"].pop("score", None)
        return document

    def identity(self) -> Digest:
        """A digest that two runs of the same evaluation share.

        It covers all but `runtime.measured`: with times in it, an evaluation that is repeated
        would enter a ledger a second time.
        """
        document = self.document()
        del document["runtime"]["measured"]
        return sha256_bytes(canonical_json(document))
