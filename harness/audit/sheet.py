"""The pairs that an audit found, as images in one HTML page, for a person to judge.

The page needs no other file. It contains pixels and masks of the dataset, test cases included: it
is for the organiser alone.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader
from numpy.typing import NDArray

from harness.audit.change import laid_on
from harness.audit.features import describe
from harness.audit.near import same_frame
from harness.audit.report import AuditReport, Pair
from harness.store import Case, CaseStore

HEIGHT = 240  # of the images shown, in pixels
MOST = 500  # pairs on one page
OUTLINE = (0, 215, 255)  # BGR
ALIKE = 128  # grey of the last image where both agree


@dataclass(frozen=True)
class Row:
    """One pair on the page."""

    pair: Pair
    first: Case
    second: Case
    images: tuple[str, ...]  # data URIs: first, second, second laid on first, second - first


def sheet(store: CaseStore, report: AuditReport) -> bytes:
    """The page, as UTF-8 HTML: conflicts first, then the least alike; of one patient, nothing.

    Raises:
        BusbenchError: `store-invalid` where an image or mask of the store is gone.
    """
    seen = [pair for pair in report.pairs if pair.kind != "same-patient"]
    seen.sort(key=lambda pair: (not pair.conflict, pair.similarity, pair))
    cases = {case.case_id: case for case in store.cases}
    rows = [_row(store, pair, cases[pair.first], second=cases[pair.second]) for pair in seen[:MOST]]
    loader = PackageLoader("harness.audit", ".")
    template = Environment(loader=loader, autoescape=True).get_template("sheet.html")
    return template.render(report=report, rows=rows, found=len(seen)).encode()


def _row(store: CaseStore, pair: Pair, first: Case, *, second: Case) -> Row:
    one, other = store.image(pair.first), store.image(pair.second)
    onto = _onto(one, other)
    laid = laid_on(other, onto, one.shape)
    seen = laid_on(np.full(other.shape, 255, np.uint8), onto, one.shape) > 127
    images = (
        _outlined(one, store.mask(pair.first)),
        _outlined(other, store.mask(pair.second)),
        cv2.cvtColor(laid, cv2.COLOR_GRAY2BGR),
        cv2.cvtColor(_difference(one, laid, seen), cv2.COLOR_GRAY2BGR),
    )
    return Row(pair, first, second, tuple(_uri(image.astype(np.uint8)) for image in images))


def _onto(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.float64]:
    """(2, 3): from pixels of the first to pixels of the second, as the audit found it."""
    described = describe(one), describe(other)
    matches = [same_frame(*described, mirrored) for mirrored in (False, True)]
    found = [match for match in matches if match]
    if not found:  # identical, and too blank to be registered
        return np.eye(2, 3)
    best = max(found, key=lambda match: match.likeness.similarity)
    return best.alignment.matrix(one.shape[:2], other.shape[:2])


def _outlined(image: NDArray[np.uint8], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    colour = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    width = max(1, image.shape[0] // HEIGHT)
    return cv2.drawContours(colour, outlines, -1, OUTLINE, width).astype(np.uint8)


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


def _uri(image: NDArray[np.uint8]) -> str:
    width = max(1, round(image.shape[1] * HEIGHT / image.shape[0]))
    small = cv2.resize(image, (width, HEIGHT), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small, (cv2.IMWRITE_JPEG_QUALITY, 85))
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode()
