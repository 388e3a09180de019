"""The consistency pass: every test image is scored as it is, and transformed.

A transformed image is a window of the original, perhaps mirrored; of each there are several.
Nothing is resampled and nothing is invented: its pixels are pixels of the original, its mask the
very same pixels of the mask, so the labels stay exact. Cutting shifts the lesion, and since a
network resizes what it gets to its own input, it scales it as well.

Where and how is drawn from a secret seed and the case, by HMAC-SHA256 and whole numbers: infer
(images, no labels) and score (labels, no images) draw the same, in any order and with any library,
and nobody without the seed can prepare for it. The window is drawn from the size of the image
alone, so a lesion may be cut; it is then scored on what is left of it.

A network that segments loses little, one that has stored the test images loses more: the
**consistency gap** is plain minus transformed. It is taken case by case, against the mean of those
windows that keep at least `KEPT_LESION` of the lesion; cases without such a window are left out.
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from evaluator.documents.base import Digest
from evaluator.documents.sealed import SealedCase, SealedIndex

KEPT_SIDE = (80, 92)  # percent of each side that a window keeps, inclusive
KEPT_LESION = 0.5  # of a lesion's pixels; the score of a smaller rest depends on the cut
Pixels = TypeVar("Pixels", np.uint8, np.bool_)


@dataclass(frozen=True)
class Transform:
    """A window into an image, in its pixels, and whether it is mirrored left to right."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool


def window_seeds(index: SealedIndex) -> tuple[Digest, ...]:
    """The seed of each window of the consistency pass; none where it is off.

    That of the first is the secret itself, as in archives that were sealed with one window.
    """
    secret = index.consistency_seed
    if secret is None:
        return ()
    further = (
        hmac.digest(bytes.fromhex(secret), f"window {number}".encode(), "sha256").hex()
        for number in range(2, index.windows + 1)
    )
    return (secret, *further)


def window_prefix(number: int) -> str:
    """What the columns of a window, from 1, in `cases.parquet` begin with."""
    return "transformed_" if number == 1 else f"transformed_{number}_"


def draw(seed: Digest, case_id: str, shape: tuple[int, ...]) -> Transform:
    """The transform of one case: a function of secret, case id and shape alone.

    Args:
        shape: (height, width) of the image, in pixels.
    """
    height, width = shape
    message = f"{case_id}:{height}x{width}".encode()
    chances = struct.unpack(">4Q", hmac.digest(bytes.fromhex(seed), message, "sha256"))
    new_height, new_width = _kept(height, chances[0]), _kept(width, chances[1])
    return Transform(
        top=_pick(0, height - new_height, chances[2]),
        left=_pick(0, width - new_width, chances[3]),
        height=new_height,
        width=new_width,
        mirrored=bool(chances[0] & 1),  # the lowest bit, which does not change the side's length
    )


def _kept(side: int, chance: int) -> int:
    """The length that is kept of a side: at least a pixel, and where it can be, not all."""
    low, high = (max(1, side * percent // 100) for percent in KEPT_SIDE)
    return _pick(low, high, chance)


def _pick(low: int, high: int, chance: int) -> int:
    """A whole number from `low` to `high`, by 64 random bits."""
    return low + (chance * (high - low + 1) >> 64)


def transform_pixels(pixels: NDArray[Pixels], transform: Transform) -> NDArray[Pixels]:
    """The window of an image or mask (H, W): (transform.height, transform.width)."""
    rows = slice(transform.top, transform.top + transform.height)
    columns = slice(transform.left, transform.left + transform.width)
    window = pixels[rows, columns]
    return np.ascontiguousarray(window[:, ::-1] if transform.mirrored else window)


def transform_case(
    seed: Digest, case: SealedCase, pixels: NDArray[Pixels]
) -> tuple[SealedCase, NDArray[Pixels]]:
    """A case and its image or mask (H, W), transformed; the case has the new size."""
    transform = draw(seed, case.case_id, (case.height, case.width))
    resized = replace(case, height=transform.height, width=transform.width)
    return resized, transform_pixels(pixels, transform)
