"""The cases of a split as an export may show them, and whether the test part is among them.

An item of a test case whose labels are withheld has neither class nor mask nor the names of its
raw files, so that no format can write them by mistake.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evaluator.documents.base import CaseId, Digest, Label
from evaluator.errors import BusbenchError, Code
from harness.challenge import Challenge
from harness.splits import FrozenSplit
from harness.splits.lock import SplitLock
from harness.store import REMEDY, Case, CaseStore

TestPart = Literal["none", "images", "images and labels"]


def choose_test_part(challenge: Challenge, lock: SplitLock, *, with_labels: bool) -> TestPart:
    """What of the test part may be exported: by what the tracks of this split declare.

    Of private labels the images are sealed as well, so that nobody can outline them by hand.

    Args:
        with_labels: whether the user asks for the test labels.

    Raises:
        BusbenchError: `challenge-invalid` where labels are asked for that no track calls public.
    """
    declared = {
        name: track.labels
        for name, track in challenge.tracks.items()
        if (track.dataset, track.split_version) == (lock.dataset, lock.version)
    }
    private = next((name for name, labels in declared.items() if labels == "private"), None)
    if not with_labels:
        return "none" if private else "images"
    if declared and private is None:
        return "images and labels"
    split = f"{lock.dataset} {lock.version}"
    raise BusbenchError(
        Code.CHALLENGE_INVALID,
        f"challenge.yaml: the labels of track {private} are private."
        if private
        else f"challenge.yaml: no track of {split} says that its test labels are public.",
        "Leave --with-test-labels out, or declare the track with `labels: public` if they are.",
    )


@dataclass(frozen=True)
class Item:
    """One case to export."""

    case_id: CaseId
    fold: int | None  # the one that validates on it; None: a test case
    group: str
    height: int
    width: int
    spacing: tuple[float, float] | None  # (row, column) in millimetres
    image_sha256: Digest
    known: Case | None  # what the store has of it; None where its labels are withheld

    @property
    def part(self) -> Literal["train", "test"]:
        """The side of the split."""
        return "test" if self.fold is None else "train"

    @property
    def label(self) -> Label | None:
        """The class, None where it is withheld."""
        return self.known.label if self.known else None


@dataclass(frozen=True)
class Cases:
    """All cases to export, in order of case id, and where their pixels are."""

    store: CaseStore
    lock: SplitLock
    items: tuple[Item, ...]
    by_id: Mapping[CaseId, Case]

    @classmethod
    def of(cls, store: CaseStore, split: FrozenSplit, test: TestPart) -> Cases:
        """The training cases, and the test cases as far as `test` lets; none of a final part."""
        by_id = {case.case_id: case for case in store.cases}
        items = tuple(
            Item(
                case_id=row.case_id,
                fold=row.fold,
                group=row.patient_group,
                height=(case := by_id[row.case_id]).height,
                width=case.width,
                spacing=case.spacing,
                image_sha256=row.image_sha256,
                known=case if row.part == "train" or test == "images and labels" else None,
            )
            for row in split.rows
            if row.part == "train" or (row.part == "test" and test != "none")
        )
        return cls(store, split.lock, items, by_id)

    @property
    def training(self) -> tuple[Item, ...]:
        """The cases of all folds."""
        return tuple(item for item in self.items if item.fold is not None)

    @property
    def test(self) -> tuple[Item, ...]:
        """The test cases; empty where they are left out."""
        return tuple(item for item in self.items if item.fold is None)

    def of_fold(self, fold: int) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
        """(training, validation) cases of one fold."""
        trains = tuple(item for item in self.training if item.fold != fold)
        return trains, tuple(item for item in self.training if item.fold == fold)

    def image(self, item: Item) -> bytes:
        """The PNG of a case's image; raises `store-invalid` unless it is the table's."""
        return self.store.image_file(self.by_id[item.case_id])

    def mask(self, item: Item) -> NDArray[np.bool_]:
        """A case's mask, (H, W) bool; raises `store-invalid` unless it is the table's."""
        if item.known is None:
            raise ValueError(f"the mask of {item.case_id} is withheld")
        return self.store.checked_mask(item.known)

    def lesions(self, item: Item) -> NDArray[np.uint8]:
        """A case's lesions by number, see `CaseStore.lesions`; their union is the mask."""
        lesions = self.store.lesions(item.case_id)
        if not np.array_equal(lesions > 0, self.mask(item)):
            message = f"{self.store.path}: the lesions of {item.case_id} are not those of its mask."
            raise BusbenchError(Code.STORE_INVALID, message, REMEDY)
        return lesions
