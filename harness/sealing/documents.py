"""`bundle.json` of the two bundles that a sealed split is."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from evaluator.documents.base import Contract, Digest, Name
from evaluator.documents.sealed import MAX_WINDOWS
from evaluator.documents.submission import ModelLimits
from harness.challenge import HiddenPart, LabelAccess, Limits, Prose
from harness.declared import StatedTrack


class Source(Contract):
    """What the publishers of a dataset ask of whoever has its images; `CITATION` has the whole."""

    cite: Prose
    release: Prose
    terms: Prose


class TrainingBundle(Contract):
    """`bundle.json` of the public training bundle; its cases are in `cases.csv` beside it.

    One of version 2 does not state how many windows test images have.
    """

    schema_: Literal["busbench/training-bundle/v2", "busbench/training-bundle/v3"] = Field(
        default="busbench/training-bundle/v3", alias="schema"
    )
    dataset: Name
    track: Name
    split_version: Name
    split_digest: Digest
    folds: int
    cases: int
    cases_sha256: Digest
    test_cases: int  # of the larger hidden part, where there is a final one
    windows: int | None = Field(default=None, ge=0, le=MAX_WINDOWS)
    # ^ transformed images of each test image; 0: there is no such pass; null: not stated
    infer: Limits  # of the inference on all test cases, for a forecast
    source: Source
    model: ModelLimits  # of a submission's ONNX files

    @model_validator(mode="after")
    def _of_a_known_number(self) -> Self:
        if (self.schema_ == "busbench/training-bundle/v2") != (self.windows is None):
            raise ValueError("windows: v3 states them, v2 does not know them")
        return self

    @property
    def stated_track(self) -> StatedTrack:
        """What it says of its track."""
        return StatedTrack(self.track, self.dataset, self.split_version, self.folds)


class SealedBundle(Contract):
    """`bundle.json` of the sealed bundle: two age files, each to a key of its own.

    One of version 3 has one window a case where it has the consistency pass.
    """

    schema_: Literal["busbench/sealed-bundle/v3", "busbench/sealed-bundle/v4"] = Field(
        default="busbench/sealed-bundle/v4", alias="schema"
    )
    part: HiddenPart = "test"  # of the split; v3 knows no other
    dataset: Name
    track: Name
    split_version: Name
    split_digest: Digest
    labels: LabelAccess
    folds: int
    cases: int
    images_sha256: Digest
    labels_sha256: Digest
    consistency: bool  # whether the archives contain a seed for the consistency pass
    windows: int = Field(default=1, ge=1, le=MAX_WINDOWS)  # of each case in that pass
    image_recipient: str
    label_recipient: str

    @model_validator(mode="after")
    def _of_a_known_part(self) -> Self:
        if self.schema_ == "busbench/sealed-bundle/v3" and self.part != "test":
            raise ValueError("part: v3 has the test part alone")
        return self

    @property
    def stated_track(self) -> StatedTrack:
        """What it says of its track."""
        named = (self.track, self.dataset, self.split_version)
        return StatedTrack(*named, self.folds, labels=self.labels)
