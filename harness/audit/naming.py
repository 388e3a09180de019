"""Names in a published split, matched to the cases of a store.

A split names a case by its id or by its image's file in the release, with or without folders and
suffix. A name that fits no case, or several, is never guessed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import get_args

from evaluator.documents.base import Label
from harness.datasets.layout import IMAGE_SUFFIXES
from harness.datasets.medical import SUFFIXES as MEDICAL
from harness.datasets.patients import spelling
from harness.store import Case

SUFFIXES = (*MEDICAL, *IMAGE_SUFFIXES, ".npy", ".npz", ".webp")
LABELS = frozenset(get_args(Label))
# From the strictest reading of a name to the loosest: the first that finds a case counts. The
# last take `001`, `1` and `1.0` for one, and `P1` and `p1`.
READINGS: tuple[Callable[[str], object], ...] = (
    str,
    lambda stem: stem.removesuffix("_0000"),  # nnU-Net's number of the channel
    spelling,
    lambda stem: spelling(stem.removesuffix("_0000")),
)


@dataclass(frozen=True)
class ImageName:
    """A name as people write it: folders, and the file without its suffix."""

    folders: frozenset[str]
    stem: str

    @classmethod
    def of(cls, text: str) -> ImageName:
        """Backslashes separate folders, too; letters of another Unicode form are the same."""
        parts = unicodedata.normalize("NFC", text).strip().replace("\\", "/").split("/")
        last = parts[-1].strip()
        suffix = next((end for end in SUFFIXES if last.casefold().endswith(end)), "")
        folders = frozenset(part.casefold() for part in parts[:-1])
        return cls(folders, last[: len(last) - len(suffix)])


class CaseNames:
    """The names by which a split may know the cases of a store."""

    def __init__(self, cases: Iterable[Case]) -> None:
        self._cases = {case.case_id: case for case in cases}
        self._folders: dict[str, frozenset[str]] = {}
        self._known: dict[object, set[str]] = {}
        for case in self._cases.values():
            source = ImageName.of(case.source_image)
            self._folders[case.case_id] = source.folders
            for stem in (case.case_id, source.stem):
                for key in (stem, spelling(stem)):  # of two types: they are never equal
                    self._known.setdefault(key, set()).add(case.case_id)

    def find(self, text: str) -> frozenset[str]:
        """The ids of the cases that a name fits: one, or the name is of no use.

        Where several have the file's name, folders decide, and never against the class that a
        folder states.
        """
        for name in (ImageName(frozenset(), text.strip()), ImageName.of(text)):
            stated = name.folders & LABELS
            for reading in READINGS:
                found = self._known.get(reading(name.stem), set())
                fitting = {c for c in found if not stated or self._cases[c].label in stated}
                if fitting:
                    return self._closest(fitting, name.folders)
        return frozenset()

    def _closest(self, found: set[str], folders: frozenset[str]) -> frozenset[str]:
        shared = {case_id: len(folders & self._folders[case_id]) for case_id in found}
        most = max(shared.values())
        return frozenset(case_id for case_id, common in shared.items() if common == most)
