"""Does a network look at the picture, or does it know it? The consistency pass.

Every test image is scored twice: as it is, and moved, that is cut to a window and perhaps mirrored.
Nothing is resampled and nothing is invented: a moved image holds pixels of the original alone, its
mask the very same pixels of the mask, so the labels stay exact to the pixel. Cutting shifts the
lesion, and since a network resizes what it gets to its own input, it scales it as well.

Where and how is drawn from a secret seed and the case, by HMAC-SHA256 and whole numbers: infer
(images, no labels) and score (labels, no images) come to the same, in any order and with any
library, and nobody without the seed can prepare for it. The window is drawn without looking at
anything but the size of the image, so a lesion may be cut; it is then scored on what is left of it.

A network that segments loses little, one that recognises the picture loses more: the **consistency
gap** is plain minus moved. It is taken over the lesion cases that keep at least `KEPT_LESION` of
their lesion, case by case.
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from evaluator.contract import Digest, SealedCase

KEPT_SIDE = (80, 92)  # percent of each side that a window keeps, inclusive
KEPT_LESION = 0.5  # of a lesion's pixels; a smaller rest says more of the cut than of the network
Pixels = TypeVar("Pixels", np.uint8, np.bool_)


@dataclass(frozen=True)
class Transform:
    """A window into a picture, in its pixels, and whether it is mirrored left to right."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool


def draw(seed: Digest, case_id: str, height: int, width: int) -> Transform:
    """The transform of one case: a function of secret, case id and image size (pixels) alone."""
    message = f"{case_id}:{height}x{width}".encode()
    chances = struct.unpack(">4Q", hmac.digest(bytes.fromhex(seed), message, "sha256"))
    new_height, new_width = _kept(height, chances[0]), _kept(width, chances[1])
    return Transform(
        top=_pick(0, height - new_height, chances[2]),
        left=_pick(0, width - new_width, chances[3]),
        height=new_height,
        width=new_width,
        mirrored=bool(chances[0] & 1),  # the lowest bit, which the side's length does not feel
    )


def _kept(side: int, chance: int) -> int:
    """The length that is kept of a side: at least a pixel, and where it can be, not all."""
    low, high = (max(1, side * percent // 100) for percent in KEPT_SIDE)
    return _pick(low, high, chance)


def _pick(low: int, high: int, chance: int) -> int:
    """A whole number from `low` to `high`, by 64 random bits."""
    return low + (chance * (high - low + 1) >> 64)


def move(picture: NDArray[Pixels], transform: Transform) -> NDArray[Pixels]:
    """An image or mask (H, W) moved, (transform.height, transform.width)."""
    rows = slice(transform.top, transform.top + transform.height)
    columns = slice(transform.left, transform.left + transform.width)
    window = picture[rows, columns]
    return np.ascontiguousarray(window[:, ::-1] if transform.mirrored else window)


def move_case(
    seed: Digest, case: SealedCase, picture: NDArray[Pixels]
) -> tuple[SealedCase, NDArray[Pixels]]:
    """A case with its image or mask (H, W), both moved: the case tells the moved size."""
    transform = draw(seed, case.case_id, case.height, case.width)
    moved = replace(case, height=transform.height, width=transform.width)
    return moved, move(picture, transform)
