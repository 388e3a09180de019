"""`predictions.json`: infer -> score."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
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


@dataclass(frozen=True, kw_only=True, slots=True, config=ROW)
class PredictedCase:
    """A case's place in the packed masks: its id and the size of its mask."""

    case_id: CaseId
    height: int = Field(ge=1, le=MAX_SIDE)
    width: int = Field(ge=1, le=MAX_SIDE)


class Predictions(Contract):
    """`predictions.json`; beside it one `fold-<k>.bits` a model, or `fold-all.bits`.

    Two runs of one submission on one split write the same bytes.

    A `.bits` file is the concatenation, in the order of `cases`, of each case's boolean mask at
    native size: row-major, `numpy.packbits` (big bit order), padded to whole bytes per case.
    Where the consistency pass is on, `fold-<k>.transformed.bits` contains the masks of the
    transformed images in the same way, in the order and with the sizes of `transformed`.
    """

    bounds: ClassVar[Bounds] = Bounds(32 * MEBIBYTE, values=9 * MAX_CASES, keys=100)
    schema_: Literal["busbench/predictions/v2"] = Field(
        default="busbench/predictions/v2", alias="schema"
    )
    submission_sha256: Digest
    split_digest: Digest
    folds: tuple[Fold | None, ...] = Field(min_length=1, max_length=MAX_FOLDS)
    cases: tuple[PredictedCase, ...] = Field(max_length=MAX_CASES)
    transformed: tuple[PredictedCase, ...] = Field(default=(), max_length=MAX_CASES)
    masks: dict[FileName, Digest]  # each `.bits` file
