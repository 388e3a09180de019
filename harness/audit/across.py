"""Twins between datasets: a network trained on one must not be tested on its own images in another.

Patients are not compared: the numbers that two releases give their patients have nothing to do
with each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field

from evaluator.documents.base import CaseId, Contract, Digest, Name
from evaluator.errors import BusbenchError, Code
from evaluator.progress import Progress, quiet
from harness.audit.exact import identical
from harness.audit.report import Kind, Pair
from harness.store import Case, CaseStore


class AuditedDataset(Contract):
    """One of the datasets."""

    name: str  # the dataset's; with its place on the command line where several have one name
    dataset: Name
    store_digest: Digest
    cases: int


@dataclass(frozen=True, order=True)
class CrossPair:
    """Two cases of two datasets that show one frame."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    first_dataset: str
    first: CaseId
    second_dataset: str
    second: CaseId
    kind: Kind
    similarity: float  # in [0, 1]: of the pixels both show
    transform: str  # how `second` shows the image of `first`
    conflict: str  # of "class", "mask", those that differ, joined by ", "


class Shared(Contract):
    """What a network trained on one dataset has seen of another."""

    trained_on: str
    tested_on: str
    cases: int  # of the dataset tested on
    twins: int  # of those, how many have a twin in the dataset trained on


class CrossAudit(Contract):
    """Which cases of several datasets show one frame."""

    schema_: Literal["busbench/cross-audit/v1"] = Field(
        default="busbench/cross-audit/v1", alias="schema"
    )
    datasets: tuple[AuditedDataset, ...]  # as they were given
    near: bool  # whether near-duplicates were looked for
    pairs: tuple[CrossPair, ...]  # of two datasets each; sorted
    shared: tuple[Shared, ...]  # every dataset against every other


class JoinedStores:
    """Several stores as one, to search and to draw; case ids are `<place>:<case id>`."""

    def __init__(self, stores: Sequence[CaseStore]) -> None:
        self.stores = tuple(stores)
        named = [store.info.dataset for store in stores]
        self.names = tuple(
            f"{name}:{place}" if named.count(name) > 1 else name
            for place, name in enumerate(named, start=1)
        )
        self._cases = tuple(
            replace(case, case_id=f"{place}:{case.case_id}", patient=None)
            for place, store in enumerate(stores)
            for case in store.cases
        )

    @property
    def named(self) -> dict[str, str]:
        """Each case's dataset, id, and its image's place in the release where that differs."""
        return {
            f"{place}:{case.case_id}": f"{name} {case.shown}"
            for place, (name, store) in enumerate(zip(self.names, self.stores, strict=True))
            for case in store.cases
        }

    @property
    def cases(self) -> tuple[Case, ...]:
        """The cases of all, without patients."""
        return self._cases

    def image(self, case_id: str) -> NDArray[np.uint8]:
        """The image of a case, (H, W) uint8; raises `store-invalid` where it is gone."""
        place, own = self.place(case_id)
        return self.stores[place].image(own)

    def mask(self, case_id: str) -> NDArray[np.bool_]:
        """The mask of a case, (H, W) bool; raises `store-invalid` where it is gone."""
        place, own = self.place(case_id)
        return self.stores[place].mask(own)

    def place(self, case_id: str) -> tuple[int, str]:
        """Which store a case is in, and its id there."""
        place, _, own = case_id.partition(":")
        return int(place), own

    def shown(self, case_id: str) -> str:
        """A case as people read it: dataset and case id."""
        place, own = self.place(case_id)
        return f"{self.names[place]} {own}"


def audit_across(
    joined: JoinedStores, *, near: bool = True, progress: Progress = quiet
) -> tuple[CrossAudit, list[Pair]]:
    """Find the frames that two datasets share.

    Returns:
        the report, and its pairs by the ids of `joined`, to draw them.

    Raises:
        BusbenchError: `usage` where a store is given twice, `store-invalid` where an image is gone.
    """
    digests = [store.info.digest for store in joined.stores]
    for place, digest in enumerate(digests):
        if digest in digests[:place]:
            message = f"{joined.stores[place].path} has the cases of another store that is given."
            raise BusbenchError(Code.USAGE, message, "Give each dataset once.")
    side = {case.case_id: joined.place(case.case_id)[0] for case in joined.cases}
    found = [pair for pair in identical(joined.cases) if side[pair.first] != side[pair.second]]
    if near:
        from harness.audit.near import near_duplicates  # noqa: PLC0415  takes a second to import

        found += near_duplicates(joined, progress, lambda case: side[case.case_id])
    return _report(joined, found, near), found


def _report(joined: JoinedStores, found: Sequence[Pair], near: bool) -> CrossAudit:
    pairs = []
    for pair in found:
        (one, first), (other, second) = joined.place(pair.first), joined.place(pair.second)
        names = joined.names[one], first, joined.names[other], second
        pairs.append(CrossPair(*names, pair.kind, pair.similarity, pair.transform, pair.conflict))
    return CrossAudit(
        datasets=tuple(
            AuditedDataset(
                name=name,
                dataset=store.info.dataset,
                store_digest=store.info.digest,
                cases=len(store.cases),
            )
            for name, store in zip(joined.names, joined.stores, strict=True)
        ),
        near=near,
        pairs=tuple(sorted(pairs)),
        shared=tuple(
            Shared(
                trained_on=trained,
                tested_on=tested,
                cases=len(store.cases),
                twins=len(_ends(pairs, trained, tested)),
            )
            for (trained, _), (tested, store) in permutations(
                zip(joined.names, joined.stores, strict=True), 2
            )
        ),
    )


def _ends(pairs: Sequence[CrossPair], trained: str, tested: str) -> set[str]:
    """The cases of one dataset that have a twin in another."""
    ends = [(pair.first_dataset, pair.second_dataset, pair.second) for pair in pairs]
    ends += [(pair.second_dataset, pair.first_dataset, pair.first) for pair in pairs]
    return {case_id for one, other, case_id in ends if (one, other) == (trained, tested)}
