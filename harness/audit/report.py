"""What does an audit say? Pairs of cases that belong together, and the groups they form.

The report is a document (`busbench/audit/v1`): freeze keeps its groups whole, and `judge` holds
any split against its pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from pydantic import ConfigDict, Field
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from evaluator.documents.base import CaseId, Contract, Digest, Name

Kind = Literal["same-patient", "identical", "near-duplicate"]


@dataclass(frozen=True, order=True)
class Pair:
    """Two cases that can't stand on two sides of a split, and why.

    One pair of cases may be listed under "same-patient" and under one of the other two kinds.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    first: CaseId  # first < second
    second: CaseId
    kind: Kind
    similarity: float  # in [0, 1]: of the pixels both show; 0 where none were compared
    transform: str = ""  # how `second` shows the picture of `first`: "mirrored, scaled 0.80"
    conflict: str = ""  # of "class", "mask", "patient", those that differ, joined by ", "


class AuditReport(Contract):
    """Which cases of a store belong together."""

    schema_: Literal["busbench/audit/v1"] = Field(default="busbench/audit/v1", alias="schema")
    dataset: Name
    store_digest: Digest
    cases: int
    near: bool  # whether near-duplicates were looked for
    pairs: tuple[Pair, ...]  # sorted
    groups: tuple[tuple[CaseId, ...], ...]  # connected by pairs; sorted, singles omitted
    conflicts: tuple[Pair, ...]  # the pairs that show one picture under two descriptions


def connected_groups(links: Iterable[tuple[str, str]]) -> tuple[tuple[str, ...], ...]:
    """The groups of names that are linked, directly or through others; each and all sorted."""
    edges = sorted(links)
    names = sorted({name for edge in edges for name in edge})
    place = {name: index for index, name in enumerate(names)}
    rows = np.array([place[first] for first, _ in edges], dtype=np.intp)
    columns = np.array([place[second] for _, second in edges], dtype=np.intp)
    graph = coo_array((np.ones(len(edges)), (rows, columns)), shape=(len(names), len(names)))
    members: dict[int, list[str]] = {}
    for name, label in zip(names, connected_components(graph, directed=False)[1], strict=True):
        members.setdefault(int(label), []).append(name)
    return tuple(sorted(tuple(group) for group in members.values()))


def compose(
    dataset: str, store_digest: str, cases: int, near: bool, pairs: Sequence[Pair]
) -> AuditReport:
    """The report that follows from the pairs found."""
    ordered = tuple(sorted(pairs))
    return AuditReport(
        dataset=dataset,
        store_digest=store_digest,
        cases=cases,
        near=near,
        pairs=ordered,
        groups=connected_groups({(pair.first, pair.second) for pair in ordered}),
        conflicts=tuple(pair for pair in ordered if pair.conflict),
    )
