"""`lock.json` of a frozen split: what it is, and a digest over everything."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from evaluator.documents.base import CASE_BY_CASE, CaseId, Contract, Digest, Name
from evaluator.documents.reading import Bounds
from harness.challenge import HiddenPart

Policy = Literal["patient", "image"]


class SplitRule(Contract):
    """What was asked of a draw."""

    dataset: Name
    version: Name
    policy: Policy
    seed: int = Field(ge=0, lt=2**32)
    test_fraction: float = Field(gt=0, lt=1)  # of the cases: both hidden parts together
    final_fraction: float | None = Field(
        default=None, gt=0, lt=1, exclude_if=lambda value: value is None
    )  # of the hidden cases; None: the split has no final part. Only in v4
    folds: int = Field(ge=2, le=20)


class SplitAudit(Contract):
    """The audit's verdict on a split: counts alone, since pairs disclose withheld labels."""

    near: bool  # whether near-duplicates were looked for
    leaking: int = Field(ge=0)  # hidden cases with their patient, or a twin, in another part
    share: float = Field(ge=0, le=1)  # of the hidden cases
    by_kind: dict[str, int]  # leaking cases by why; one case may count under several
    groups: int = Field(ge=0)  # groups that are in several parts
    without_patient: int | None = Field(
        default=None, ge=0, exclude_if=lambda value: value is None
    )  # cases of which no patient is known; None in v1


class SplitLock(SplitRule):
    """`lock.json` of a frozen split: what it is, and a digest over everything.

    Parts are called `all`, `train`, `test` and `fold-0`, `fold-1`, ... of the training part, and
    `final` where there is one: such a lock is v4, all others are v3.
    """

    bounds: ClassVar[Bounds] = CASE_BY_CASE
    schema_: Literal[
        "busbench/split-lock/v1",
        "busbench/split-lock/v2",
        "busbench/split-lock/v3",
        "busbench/split-lock/v4",
    ] = Field(default="busbench/split-lock/v3", alias="schema")
    counts: dict[str, dict[str, int]]  # part -> class -> cases
    quartiles: dict[str, dict[str, int]]  # part -> none, Q1, ..., Q4 of lesion area -> cases
    leaks: bool  # a mark for readers: results on it are no evidence of generalisation
    audit: SplitAudit
    # The next three are null before v3. Whether a test case contradicts its twin is counted, since
    # naming it would tell of its class.
    excluded: dict[CaseId, str] | None = Field(
        default=None, exclude_if=lambda value: value is None
    )  # case of the store that is in no part -> why
    stated_pairs: tuple[tuple[CaseId, CaseId], ...] | None = Field(
        default=None, exclude_if=lambda value: value is None
    )  # pairs that the organiser knew of
    contradicting: int | None = Field(
        default=None, ge=0, exclude_if=lambda value: value is None
    )  # test cases whose image is there again, under another class or with another mask
    tool_version: str  # of the rules that drew it; changes only when a draw would
    store_digest: Digest
    split_sha256: Digest  # of split.csv
    rows: dict[CaseId, Digest]  # case -> SHA-256 of its line in split.csv
    masks: dict[CaseId, Digest]  # training case -> SHA-256 of its mask's pixels
    commitments: dict[CaseId, Digest]  # hidden case -> SHA-256 over salt, case id, class and mask
    field_digests: dict[str, Digest]  # field above -> SHA-256 of its value, to name what changed
    digest: Digest  # over all fields above

    @property
    def hidden_parts(self) -> tuple[HiddenPart, ...]:
        """The parts whose labels are withheld."""
        return ("test",) if self.final_fraction is None else ("test", "final")

    @property
    def patients_known(self) -> bool:
        """Whether the audit could see every leak by patient."""
        return self.audit.without_patient == 0

    @property
    def verdict(self) -> str:
        """What the audit says of the split, in a sentence or two."""
        if self.contradicting:
            return f"{self._leaks} {self.contradicting} {self._hidden} cases contradict a twin."
        return self._leaks

    @property
    def _leaks(self) -> str:
        hidden = sum(sum(self.counts[part].values()) for part in self.hidden_parts)
        audit = self.audit
        found = f"{audit.leaking} of {hidden} {self._hidden} cases ({audit.share:.1%})"
        where = "training" if self.final_fraction is None else "another part"
        if self.leaks:
            return f"It leaks: {found} have their patient or a twin in {where}."
        if self.patients_known:
            return f"It does not leak: {found} have their patient or a twin in {where}."
        cases = sum(self.counts["all"].values())
        unknown = {
            None: "Whether patients are known is not on record",
            cases: "No patient is known",
        }.get(
            audit.without_patient,
            f"Of {audit.without_patient} of {cases} cases no patient is known",
        )
        return f"{unknown}: leaks by patient cannot be seen. {found} have a twin in {where}."

    @property
    def _hidden(self) -> str:
        """What its hidden cases are called."""
        return " and ".join(self.hidden_parts)

    @model_validator(mode="after")
    def _marked(self) -> Self:
        if self.leaks != (self.audit.leaking > 0):
            raise ValueError("leaks: contradicts the audit")
        if self.rows.keys() & (self.excluded or {}).keys():
            raise ValueError("excluded: names a case that has a row")
        if (self.schema_ == "busbench/split-lock/v4") != (self.final_fraction is not None):
            raise ValueError("final_fraction: v4 has one, and earlier versions have none")
        return self
