"""`predictions.json`: infer -> score."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from evaluator.documents.base import (
    MAX_CASES,
    MAX_FOLDS,
    MAX_SIDE,
    ROW,
    CaseId,
    Contract,
    Digest,
    FileName,
    Fold,
)
from evaluator.documents.reading import MEBIBYTE, Bounds
from evaluator.documents.sealed import MAX_WINDOWS


@dataclass(frozen=True, kw_only=True, slots=True, config=ROW)
class PredictedCase:
    """A case's place in the packed masks: its id and the size of its mask."""

    case_id: CaseId
    height: int = Field(ge=1, le=MAX_SIDE)
    width: int = Field(ge=1, le=MAX_SIDE)


Windows = Annotated[tuple[PredictedCase, ...], Field(max_length=MAX_CASES)]


class Predictions(Contract):
    """`predictions.json`; beside it one `fold-<k>.bits` a model, or `fold-all.bits`.

    Two runs of one submission on one split write the same bytes.

    A `.bits` file is the concatenation, in the order of `cases`, of each case's boolean mask at
    native size: row-major, `numpy.packbits` (big bit order), padded to whole bytes per case.
    Where the consistency pass is on, `fold-<k>.transformed.bits` contains the masks of the first
    window of each image in the same way, in the order and with the sizes of `transformed[0]`, and
    `fold-<k>.transformed-<n>.bits` those of window n.

    Where the track asks for probabilities, `fold-<k>.maps` contains each case's probability of
    lesion at native size, a byte a pixel: 255 times the probability, rounded.
    """

    bounds: ClassVar[Bounds] = Bounds(32 * MEBIBYTE, values=9 * MAX_CASES, keys=100)
    schema_: Literal["busbench/predictions/v3"] = Field(
        default="busbench/predictions/v3", alias="schema"
    )
    submission_sha256: Digest
    split_digest: Digest
    folds: tuple[Fold | None, ...] = Field(min_length=1, max_length=MAX_FOLDS)
    cases: tuple[PredictedCase, ...] = Field(max_length=MAX_CASES)
    transformed: tuple[Windows, ...] = Field(default=(), max_length=MAX_WINDOWS)
    masks: dict[FileName, Digest]  # each `.bits` file
    maps: dict[FileName, Digest] = Field(default_factory=dict)  # each `.maps` file
    threshold: float | None = Field(default=None, gt=0, lt=1)  # of the maps; null without them

    @model_validator(mode="before")
    @classmethod
    def _of_version_2(cls, value: Any) -> Any:
        """The former version had one window and no maps."""
        if not isinstance(value, dict) or value.get("schema") != "busbench/predictions/v2":
            return value
        first = value.get("transformed")
        read = {"schema": "busbench/predictions/v3", "transformed": [first] if first else []}
        return {**value, **read}
