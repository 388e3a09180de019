"""The pairs that an audit found, as images in one HTML page, for a person to judge.

The page needs no other file. It contains pixels and masks of the dataset, test cases included: it
is for the organiser alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.audit.change import laid_on
from harness.audit.features import describe
from harness.audit.near import CaseImages, same_frame
from harness.audit.report import AuditReport, Pair
from harness.pages import MOST, data_uri, outlined, page
from harness.store import Case

OUTLINE = (0, 215, 255)  # BGR
ALIKE = 128  # grey of the last image where both agree


@dataclass(frozen=True)
class Row:
    """One pair on the page."""

    pair: Pair
    names: tuple[str, str]
    about: tuple[str, str]  # class, patient and file of each
    # data URIs: first, second and, where both show one frame, second laid on first, second - first
    images: tuple[str, ...]


def sheet(store: CaseImages, report: AuditReport) -> bytes:
    """The page, as UTF-8 HTML: conflicts first, then the least alike; of one patient, nothing.

    Raises:
        BusbenchError: `store-invalid` where an image or mask of the store is gone.
    """
    twins = [pair for pair in report.pairs if pair.kind != "same-patient"]
    return pairs_page(store, twins, report.dataset, digests=report.store_digest)


def pairs_page(
    store: CaseImages,
    pairs: Sequence[Pair],
    what: str,
    *,
    digests: str,
    name: Callable[[str], str] = str,
) -> bytes:
    """The page of any pairs of twins; `name` is how a case id is shown."""
    seen = sorted(pairs, key=lambda pair: (not pair.conflict, pair.similarity, pair))
    cases = {case.case_id: case for case in store.cases}
    rows = [
        row(store, pair, cases[pair.first], second=cases[pair.second], name=name)
        for pair in seen[:MOST]
    ]
    about = {"cases": len(cases), "found": len(seen), "digests": digests}
    return page("audit/sheet.html", what=what, rows=rows, **about)


def row(
    store: CaseImages,
    pair: Pair,
    first: Case,
    *,
    second: Case,
    name: Callable[[str], str] = str,
) -> Row:
    """A pair with its images; of one patient, they are not laid on each other.

    Raises:
        BusbenchError: `store-invalid` where an image or mask of the store is gone.
    """
    one, other = store.image(pair.first), store.image(pair.second)
    images = [
        outlined(one, (store.mask(pair.first), OUTLINE)),
        outlined(other, (store.mask(pair.second), OUTLINE)),
    ]
    if pair.kind != "same-patient":
        onto = _onto(one, other)
        laid = laid_on(other, onto, one.shape)
        seen = laid_on(np.full(other.shape, 255, np.uint8), onto, one.shape) > 127
        images += [
            cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR).astype(np.uint8)
            for grey in (laid, _difference(one, laid, seen))
        ]
    names = name(pair.first), name(pair.second)
    return Row(pair, names, (_about(first), _about(second)), tuple(map(data_uri, images)))


def _about(case: Case) -> str:
    patient = f", patient {case.patient}" if case.patient else ""
    return f"{case.label}{patient}, {case.source_image}"


def _onto(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(2, 3): from pixels of the first to pixels of the second, as the audit found it."""
    described = describe(one), describe(other)
    matches = [same_frame(*described, mirrored) for mirrored in (False, True)]
    found = [match for match in matches if match]
    if not found:  # identical, and too blank to be registered
        return np.eye(2, 3)
    best = max(found, key=lambda match: match.likeness.similarity)
    return best.alignment.matrix(one.shape[:2], other.shape[:2])


def _difference(
    one: NDArray[np.uint8], laid: NDArray[np.uint8], seen: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Second less first, after brightness and contrast are evened out; grey where both agree."""
    if not seen.any():
        return np.full(one.shape, ALIKE, np.uint8)
    first, second = one.astype(float), laid.astype(float)
    spread = second[seen].std()
    even = (second - second[seen].mean()) * (first[seen].std() / spread if spread else 1)
    off = np.where(seen, even + first[seen].mean() - first, 0)
    return np.asarray(np.clip(ALIKE + off, 0, 255), dtype=np.uint8)
