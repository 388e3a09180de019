"""Sealed test cases as the stages of an evaluation get them, and the keys that open them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from evaluator.documents.base import CaseId
from evaluator.documents.sealed import SealedIndex
from evaluator.sealed import open_sealed

KeyText = Callable[[], str]  # gives a key when a stage starts; nothing keeps it


@dataclass(frozen=True)
class SealedImages:
    """Sealed images, readable for a container's user, and the key that opens them."""

    images: Path
    image_key: KeyText = field(repr=False)

    def index(self) -> SealedIndex:
        """What the archive says of its cases."""
        with open_sealed(self.images, self.image_key()) as (index, _):
            return index


@dataclass(frozen=True)
class SealedFiles(SealedImages):
    """Sealed cases: the images, and the labels with a key of their own."""

    labels: Path
    label_key: KeyText = field(repr=False)
    left_out: tuple[CaseId, ...] = ()  # test cases that are not scored
