"""The index inside a sealed archive: harness -> infer, score."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from evaluator.documents.base import (
    CASE_BY_CASE,
    MAX_SIDE,
    ROW,
    CaseId,
    Contract,
    Digest,
    FileName,
    Label,
)
from evaluator.documents.reading import Bounds


@dataclass(frozen=True, kw_only=True, slots=True, config=ROW)
class SealedCase:
    """One row of the index inside a sealed archive; what the component may not know stays null."""

    case_id: CaseId
    height: int = Field(ge=1, le=MAX_SIDE)
    width: int = Field(ge=1, le=MAX_SIDE)
    file: FileName
    label: Label | None = None
    device: str | None = None  # the scanner
    patient_group: str | None = None
    birads: str | None = None
    spacing_mm: tuple[float, float] | None = None  # (row, column)


MAX_WINDOWS = 8


class SealedIndex(Contract):
    """`index.json`, the first member of a sealed archive.

    The seed of the consistency pass is the same in both archives and is kept nowhere else; null
    where the pass is off. The other seed is in the archive of the images alone. An index of version
    3 has one window a case and no BI-RADS.
    """

    bounds: ClassVar[Bounds] = CASE_BY_CASE
    schema_: Literal["busbench/sealed-index/v3", "busbench/sealed-index/v4"] = Field(
        default="busbench/sealed-index/v4", alias="schema"
    )
    split_digest: Digest
    consistency_seed: Digest | None = None  # 256 random bits
    windows: int = Field(default=1, ge=1, le=MAX_WINDOWS)  # of each case in that pass
    repeat_seed: Digest | None = None  # as many: which cases inference runs again
    cases: tuple[SealedCase, ...]  # of the test part: in a random order

    @classmethod
    def compact(cls, fields: dict[str, Any]) -> Any:
        """A row at once as a `SealedCase`, in a third of the memory."""
        return SealedCase(**fields) if "file" in fields else fields
