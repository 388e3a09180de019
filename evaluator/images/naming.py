"""Names and order under which a participant's image sees test images: random, by a secret.

Plain and transformed images are in one list, sorted by names that are drawn by HMAC-SHA256 from a
seed of the sealed images. So neither names nor order tell the passes apart, or bring one image of a
case together with the other. A second start sees a sample again, under other names.
"""

from __future__ import annotations

import heapq
import hmac
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import Field

from evaluator.documents.base import MAX_CASES, MAX_SIDE, Contract, Digest, FileName
from evaluator.documents.inference import repeated_cases
from evaluator.documents.reading import MEBIBYTE, Bounds
from evaluator.documents.sealed import SealedIndex
from evaluator.errors import BusbenchError, Code
from evaluator.predictions import predicted_cases
from evaluator.sealed import REMEDY

FOLDER, LIST = "images", "images.json"
BYTES = 16  # of a name: two are never the same


class ShownImage(Contract):
    """A file in the folder of images, and the size of its mask."""

    file: FileName
    height: int = Field(ge=1, le=MAX_SIDE)
    width: int = Field(ge=1, le=MAX_SIDE)


class ShownImages(Contract):
    """`images.json`: what a participant's image is to predict, in the order of the files' names."""

    bounds = Bounds(32 * MEBIBYTE, values=9 * MAX_CASES)
    images: tuple[ShownImage, ...]


@dataclass(frozen=True, order=True)
class Shown:
    """One image of a case, plain or a window of it, under the name of one start."""

    file: str
    case_id: str
    window: int  # from 1; 0: the plain image
    height: int
    width: int


def shown(index: SealedIndex, submission: Digest, *, again: bool) -> list[Shown]:
    """The images of one start, sorted by name.

    Args:
        index: of the sealed images.
        submission: digest of the submission: each has names of its own.
        again: whether it is the second start, of a sample.

    Raises:
        BusbenchError: `bundle-invalid` where the sealed images have no seed.
    """
    if index.repeat_seed is None:
        message = "The sealed images have no seed for the names of images."
        raise BusbenchError(Code.BUNDLE_INVALID, message, REMEDY)
    seed = bytes.fromhex(index.repeat_seed)

    def drawn(what: str, image: Shown) -> str:
        words = f"image:{what}:{submission}:{image.window}:{image.case_id}"
        return hmac.digest(seed, words.encode(), "sha256")[:BYTES].hex()

    images = list(_images(index))
    if again:
        count = repeated_cases(len(images))
        images = heapq.nsmallest(count, images, key=lambda image: drawn("sample", image))
    start = "again" if again else "first"
    return sorted(
        Shown(f"{drawn(start, i)}.png", i.case_id, i.window, i.height, i.width) for i in images
    )


def _images(index: SealedIndex) -> Iterator[Shown]:
    """Every image of every pass, without a name."""
    plain, windows = predicted_cases(index)
    for number, cases in enumerate((plain, *windows)):
        for case in cases:
            yield Shown("", case.case_id, number, case.height, case.width)
