"""The audit's report: pairs of cases that belong together, and the groups they form.

The report is a document (`busbench/audit/v3`): freeze keeps its groups whole, and `judge` compares
any split with its pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from pydantic import ConfigDict, Field

from evaluator.documents.base import CASE_BY_CASE, CaseId, Contract, Digest, Name
from evaluator.documents.reading import Bounds

Kind = Literal["same-patient", "identical", "near-duplicate"]


@dataclass(frozen=True, order=True)
class Pair:
    """Two cases that belong on one side of a split, and why.

    One pair of cases may be listed under "same-patient" and under one of the other two kinds.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    first: CaseId  # first < second
    second: CaseId
    kind: Kind
    similarity: float  # in [0, 1]: of the pixels both show; 0 where none were compared
    transform: str = ""  # how `second` shows the image of `first`: "mirrored, scaled 0.80"
    conflict: str = ""  # of "class", "mask", "patient", those that differ, joined by ", "


class AuditReport(Contract):
    """Which cases of a store belong together."""

    bounds: ClassVar[Bounds] = CASE_BY_CASE
    schema_: Literal["busbench/audit/v1", "busbench/audit/v2", "busbench/audit/v3"] = Field(
        default="busbench/audit/v3", alias="schema"
    )
    dataset: Name
    store_digest: Digest
    cases: int
    without_patient: int | None = Field(
        default=None, exclude_if=lambda value: value is None
    )  # cases of which no patient is known; None in v1
    near: bool  # whether near-duplicates were looked for
    pairs: tuple[Pair, ...]  # sorted
    groups: tuple[tuple[CaseId, ...], ...]  # connected by pairs; sorted, singles omitted
    conflicts: tuple[Pair, ...]  # the pairs that show one image under two descriptions
    # What the organiser handed in; null before v3.
    excluded: dict[CaseId, str] | None = Field(
        default=None, exclude_if=lambda value: value is None
    )  # case of the store that was left out -> why; not counted in `cases`
    stated_pairs: tuple[tuple[CaseId, CaseId], ...] | None = Field(
        default=None, exclude_if=lambda value: value is None
    )  # pairs that the organiser knew of


def unknown_patients(without: int, cases: int) -> str:
    """What an audit cannot see where `without` of `cases` name no patient."""
    return (
        f"Of {without} of {cases} cases no patient is known: leaks by patient cannot be seen there."
    )


def connected_groups(links: Iterable[tuple[str, str]]) -> tuple[tuple[str, ...], ...]:
    """The groups of names that are linked, directly or through others; each and all sorted."""
    group_of: dict[str, list[str]] = {}
    for first, second in links:
        one, other = group_of.setdefault(first, [first]), group_of.setdefault(second, [second])
        if one is not other:
            small, large = sorted((one, other), key=len)  # else a long chain takes quadratic time
            large += small
            group_of.update(dict.fromkeys(small, large))
    groups = {id(group): group for group in group_of.values()}
    return tuple(sorted(tuple(sorted(group)) for group in groups.values()))


def compose(
    dataset: str,
    store_digest: str,
    cases: int,
    *,
    near: bool,
    pairs: Sequence[Pair],
    without_patient: int = 0,
) -> AuditReport:
    """The report that follows from the pairs found."""
    ordered = tuple(sorted(pairs))
    return AuditReport(
        dataset=dataset,
        store_digest=store_digest,
        cases=cases,
        without_patient=without_patient,
        near=near,
        pairs=ordered,
        groups=connected_groups({(pair.first, pair.second) for pair in ordered}),
        conflicts=tuple(pair for pair in ordered if pair.conflict),
        excluded={},
        stated_pairs=(),
    )
