"""Descriptions, for people, of how one image was made from another, and whether the masks agree."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.audit.likeness import Likeness
from harness.audit.register import Alignment, overlap

# Smaller changes than these are not reported: they are within what resampling and JPEG do.
SCALE, CROP, CONTRAST, BRIGHTNESS, MARKED = 0.02, 0.02, 0.06, 4.0, 0.01
AGREE = 0.9  # Dice of two masks of one frame
FEW = 30  # pixels of difference that two drawings of one outline may have in any case

Shape = tuple[int, int]  # height, width


def change(alignment: Alignment, likeness: Likeness, first: Shape, *, second: Shape) -> str:
    """How `second` shows the image of `first`: "mirrored, scaled 0.80, cropped to 90% x 85%".

    "small changes" where none is large enough to be reported: re-encoded, or a mark or two.
    """
    across = float(alignment.scale[0]) * second[1] / first[1]
    down = float(alignment.scale[1]) * second[0] / first[0]
    even = abs(across - down) < SCALE * max(across, down)
    scaled = f"scaled {np.sqrt(across * down):.2f}" if even else f"scaled {across:.2f} x {down:.2f}"
    of_first, of_second = overlap(alignment)
    changes = {
        "mirrored": alignment.mirrored,
        scaled: max(abs(across - 1), abs(down - 1)) > SCALE,
        f"cropped to {_percent(of_first)}": of_first.min() < 1 - CROP,
        f"extended from {_percent(of_second)}": of_second.min() < 1 - CROP,
        f"contrast x{likeness.contrast:.2f}": abs(likeness.contrast - 1) > CONTRAST,
        f"brightness {likeness.brightness:+.0f}": abs(likeness.brightness) > BRIGHTNESS,
        f"marks on {likeness.marked:.0%}": likeness.marked > MARKED,
    }
    return ", ".join(words for words, worth in changes.items() if worth) or "small changes"


def _percent(share: NDArray[np.float64]) -> str:
    return f"{share[0]:.0%} x {share[1]:.0%}"


def laid_on(
    image: NDArray[np.uint8], matrix: NDArray[np.float64], shape: Shape
) -> NDArray[np.uint8]:
    """An image laid on another of `shape`, whose pixels `matrix` (2, 3) maps into it; 0 outside."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, shape[::-1], flags=flags).astype(np.uint8)


def masks_differ(
    first: NDArray[np.bool_], second: NDArray[np.bool_], matrix: NDArray[np.float64]
) -> bool:
    """Whether two masks of one frame disagree, where both images show it.

    They do where their Dice is below 0.9, unless only a few pixels differ.
    """
    seen = laid_on(np.full(second.shape, 255, np.uint8), matrix, first.shape) == 255
    laid = laid_on(second.astype(np.uint8) * 255, matrix, first.shape) > 127
    different = int(((first ^ laid) & seen).sum())
    marked = int((first & seen).sum()) + int((laid & seen).sum())
    return different > FEW and different > (1 - AGREE) * marked
