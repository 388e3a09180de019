"""Near-duplicates: cases that show the same frame, though their pixels differ.

Cheap signatures name candidates; registration and the pixels confirm every pair. See
`candidates.py`, `register.py` and `likeness.py`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from evaluator.progress import Progress
from harness.audit.candidates import candidates
from harness.audit.change import change, masks_differ
from harness.audit.exact import conflicts
from harness.audit.features import SIDE, DescribedImage, describe
from harness.audit.likeness import Likeness
from harness.audit.register import Alignment, align, overlap, propose
from harness.audit.report import Pair, connected_groups
from harness.store import Case

# What two images must show to be one frame. Measured on planted copies and on neighbouring
# frames of real images: docs/audit.md has the numbers.
SIMILAR = 0.9
DRIFT = SIDE / 800  # tissue and speckle move between two frames; in a copy nothing does
EVIDENCE = 0.03
OVERLAP = 0.4  # of the smaller image: two crops of one image, each by a fifth, share more

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Match:
    """Two images that show the same frame, and how."""

    alignment: Alignment
    likeness: Likeness

    def inverted(self) -> Match:
        """The same, seen from the second image."""
        return Match(self.alignment.inverted(), self.likeness.inverted())


class CaseImages(Protocol):
    """Cases with their pixels: a store, or several together."""

    @property
    def cases(self) -> tuple[Case, ...]: ...

    def image(self, case_id: str, /) -> NDArray[np.uint8]: ...

    def mask(self, case_id: str, /) -> NDArray[np.bool_]: ...


def near_duplicates(
    store: CaseImages, progress: Progress, side: Callable[[Case], int] | None = None
) -> list[Pair]:
    """All pairs of cases that show the same frame in different pixels.

    Args:
        side: which side a case is on, from 0; given it, only pairs on two sides are looked for.

    Raises:
        BusbenchError: `store-invalid` where an image or mask of the store is gone.
    """
    twins: dict[str, list[Case]] = {}
    for case in store.cases:
        twins.setdefault(case.image_sha256, []).append(case)
    shown = tuple(twins.values())  # each image once, with all cases that show it
    sides = None if side is None else _sides(shown, side)

    def look(cases: Sequence[Case]) -> DescribedImage:
        return describe(store.image(cases[0].case_id))

    # Threads of ours share the cores; a library's own threads below them would only fight.
    with threadpool_limits(limits=1):
        images = _each("read images", look, shown, progress=progress)
        matches = find_matches(images, progress, sides)
    return [
        _pair(store, one, other, match=match)
        for (first, second), match in sorted(matches.items())
        for one in shown[first]
        for other in shown[second]
        if side is None or side(one) != side(other)
    ]


def _sides(shown: Sequence[Sequence[Case]], side: Callable[[Case], int]) -> NDArray[np.intp]:
    """The side of each image; one that is on several gets a negative number of its own."""
    found = [{side(case) for case in cases} for cases in shown]
    codes = (min(on) if len(on) == 1 else -1 - place for place, on in enumerate(found))
    return np.fromiter(codes, dtype=np.intp, count=len(found))


def find_matches(
    images: Sequence[DescribedImage], progress: Progress, sides: NDArray[np.intp] | None = None
) -> dict[tuple[int, int], Match]:
    """All pairs of images that show the same frame, by their places, the smaller first.

    Args:
        sides: of each image; given it, only pairs of different sides.
    """
    likely = candidates(images, sides)
    found = _confirmed(images, likely, "compare images", progress=progress)
    # Many copies of one image crowd each other out of the candidates; they find one another here.
    names = connected_groups((str(first), str(second)) for first, second in found)
    groups = [sorted(int(name) for name in group) for group in names]
    inside = {
        (*pair, mirrored)
        for group in groups
        for pair in combinations(group, 2)
        for mirrored in (False, True)
        if pair not in found and (sides is None or sides[pair[0]] != sides[pair[1]])
    }
    rest = sorted(inside.difference(likely))
    return found | _confirmed(images, rest, "compare within groups", progress=progress)


def _confirmed(
    images: Sequence[DescribedImage],
    likely: Sequence[tuple[int, int, bool]],
    what: str,
    *,
    progress: Progress,
) -> dict[tuple[int, int], Match]:
    def confirm(pair: tuple[int, int, bool]) -> Match | None:
        first, second, mirrored = pair
        return same_frame(images[first], images[second], mirrored)

    best: dict[tuple[int, int], Match] = {}
    answers = _each(what, confirm, likely, progress=progress)
    for (first, second, _), match in zip(likely, answers, strict=True):
        known = best.get((first, second))
        if match and (not known or match.likeness.similarity > known.likeness.similarity):
            best[first, second] = match
    return best


def same_frame(first: DescribedImage, second: DescribedImage, mirrored: bool) -> Match | None:
    """How `second` lies on `first`, mirrored or not; None unless both show one frame."""
    start = propose(first, second, mirrored)
    if start is None:
        return None
    alignment, likeness = align(first, second, start)
    same = (
        likeness.similarity >= SIMILAR
        and likeness.drift <= DRIFT
        and likeness.evidence >= EVIDENCE
        and max(share.prod() for share in overlap(alignment)) >= OVERLAP
    )
    return Match(alignment, likeness) if same else None


def _pair(store: CaseImages, one: Case, other: Case, *, match: Match) -> Pair:
    if one.case_id > other.case_id:
        one, other, match = other, one, match.inverted()
    shapes = (one.height, one.width), (other.height, other.width)
    onto = match.alignment.matrix(*shapes)
    differ = masks_differ(store.mask(one.case_id), store.mask(other.case_id), onto)
    return Pair(
        first=one.case_id,
        second=other.case_id,
        kind="near-duplicate",
        similarity=round(match.likeness.similarity, 3),
        transform=change(match.alignment, match.likeness, shapes[0], second=shapes[1]),
        conflict=conflicts(one, other, differ),
    )


def _each(
    what: str, task: Callable[[Item], Result], items: Sequence[Item], *, progress: Progress
) -> list[Result]:
    """`task` of every item, in order, on all cores: OpenCV and NumPy release Python's lock."""
    results = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for result in pool.map(task, items):
            results.append(result)
            if len(results) % 20 == 0 or len(results) == len(items):
                progress(what, len(results), len(items))
    return results
