"""Example cases of a split for its page: those of the training part, and no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from evaluator.consistency import Transform, draw, transform_pixels
from evaluator.documents.base import CaseId
from evaluator.files import sha256_bytes
from evaluator.harmless import harmless
from harness.audit import Pair
from harness.splits import FrozenSplit, Subject
from harness.store import Case, CaseStore
from harness.website.images.thumbnails import Thumbnail, outline

MOST = 12  # examples of a split
MOST_PAIRS = 12
WINDOWS = 2  # of the example on the method page
# Anybody may know it, and it is no sealed bundle's: theirs are drawn when a bundle is sealed.
EXAMPLE_SEED = sha256_bytes(b"a public example, which no bundle is sealed with")


@dataclass(frozen=True)
class Material:
    """A frozen split, and its store where that is at hand, without the cases that were left out."""

    split: FrozenSplit
    store: CaseStore | None
    shows: bool  # whether images of it may be shown
    elsewhere: frozenset[CaseId] = frozenset()  # cases that another split of the site holds out


@dataclass(frozen=True)
class Example:
    """A case with its outlined reference."""

    thumbnail: Thumbnail
    case_id: str
    label: str
    device: str | None
    path: str  # the outline of the reference; empty where there is no lesion

    @property
    def title(self) -> str:
        """Class, and scanner where it is known."""
        return self.label if self.device is None else f"{self.label}, {harmless(self.device)}"


@dataclass(frozen=True)
class Window:
    """A transformed image beside its original."""

    number: int
    drawn: Transform
    thumbnail: Thumbnail
    path: str  # the outline of what is left of the reference


@dataclass(frozen=True)
class ShownPair:
    """Two cases of the training part that show one frame."""

    pair: Pair
    first: Example
    second: Example


@dataclass(frozen=True)
class Transformed:
    """An example with some of its windows."""

    original: Example
    windows: tuple[Window, ...]

    @property
    def frames(self) -> list[tuple[str, str]]:
        """The outline of each window in the original, as a style and a path."""
        drawn = (window.drawn for window in self.windows)
        return [("frame", f"M{d.left} {d.top}h{d.width}v{d.height}h-{d.width}z") for d in drawn]


def training_cases(material: Material, store: CaseStore) -> list[Case]:
    """The cases of the training part that no other split holds out, in order of case id."""
    known = {row.case_id for row in material.split.rows if row.part == "train"}
    return [case for case in store.cases if case.case_id in known - material.elsewhere]


def choose(cases: Sequence[Case], areas: Mapping[str, int]) -> list[Case]:
    """Cases of middling lesion size of each class and scanner; `MOST` at most.

    Where classes and scanners are few, several sizes of each are taken.
    """
    cells: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        cells.setdefault((case.label, case.device or ""), []).append(case)
    kept = sorted(sorted(cells, key=lambda cell: (-len(cells[cell]), cell))[:MOST])
    each = max(1, min(3, 6 // max(1, len(kept))))
    return [case for cell in kept for case in _middling(cells[cell], areas, each)]


def _middling(cases: Sequence[Case], areas: Mapping[str, int], number: int) -> Iterator[Case]:
    """Some cases, evenly spread over the sizes of lesions."""
    ordered = sorted(cases, key=lambda case: (areas[case.case_id], case.case_id))
    places = ((2 * n + 1) * len(ordered) // (2 * number) for n in range(number))
    return (ordered[place] for place in dict.fromkeys(places))


def examples(
    material: Material, store: CaseStore, subjects: Sequence[Subject]
) -> tuple[Example, ...]:
    """The examples of a split, by class and scanner.

    Raises:
        BusbenchError: `store-invalid` where an image or a mask is not the table's.
    """
    areas = {subject.case_id: subject.area for subject in subjects}
    return tuple(
        example(material.split, store, each)
        for each in choose(training_cases(material, store), areas)
    )


def example(split: FrozenSplit, store: CaseStore, case: Case) -> Example:
    """One case of a split with its reference."""
    file = f"cases/{split.lock.dataset}-{split.lock.digest[:8]}/{case.case_id}.webp"
    thumbnail = Thumbnail.of(file, store.checked_image(case))
    path = outline(store.checked_mask(case))
    return Example(thumbnail, case.case_id, case.label, case.device, path)


def transformed(store: CaseStore, original: Example) -> Transformed:
    """An example with windows of the consistency pass, drawn from `EXAMPLE_SEED`."""
    case = next(case for case in store.cases if case.case_id == original.case_id)
    image, mask = store.checked_image(case), store.checked_mask(case)
    windows = (_window(number, case.case_id, image, mask=mask) for number in range(1, WINDOWS + 1))
    return Transformed(original, tuple(windows))


def show_pairs(
    material: Material, store: CaseStore, pairs: Sequence[Pair]
) -> tuple[ShownPair, ...]:
    """The first `MOST_PAIRS` of the pairs whose cases are both of the training part."""
    split, known = material.split, {case.case_id: case for case in training_cases(material, store)}
    own = (pair for pair in pairs if known.keys() >= {pair.first, pair.second})
    return tuple(
        ShownPair(
            pair,
            example(split, store, known[pair.first]),
            example(split, store, known[pair.second]),
        )
        for pair in islice(own, MOST_PAIRS)
    )


def _window(
    number: int, case_id: str, image: NDArray[np.uint8], *, mask: NDArray[np.bool_]
) -> Window:
    drawn = draw(sha256_bytes(f"{EXAMPLE_SEED} {number}".encode()), case_id, image.shape)
    thumbnail = Thumbnail.of(f"cases/window-{number}.webp", transform_pixels(image, drawn))
    return Window(number, drawn, thumbnail, outline(transform_pixels(mask, drawn)))
