"""How does a picture of any size become the network's input, without bending it?

The evaluator resizes test images by the same rule, so training sees what scoring will see.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class Letterbox:
    """Where a picture lies inside the input: size and top left corner, in pixels."""

    height: int
    width: int
    top: int
    left: int


def place(height: int, width: int, into: tuple[int, int]) -> Letterbox:
    """Scale a height x width picture to just fit `into` (height, width), centred.

    The scale is min(H/h, W/w); sides are rounded as Python rounds (halves to even), at least 1.
    """
    scale = min(into[0] / height, into[1] / width)
    new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    return Letterbox(new_height, new_width, (into[0] - new_height) // 2, (into[1] - new_width) // 2)


def letterbox(
    picture: NDArray[Any], into: tuple[int, int], resample: Image.Resampling
) -> NDArray[np.uint8]:
    """Resize a (h, w) uint8 or bool picture into a zero (H, W) frame; bool becomes 0/1."""
    height, width = picture.shape
    box = place(height, width, into)
    source = Image.fromarray(np.ascontiguousarray(picture, dtype=np.uint8))
    frame = np.zeros(into, dtype=np.uint8)
    rows, columns = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
    frame[rows, columns] = np.asarray(source.resize((box.width, box.height), resample))
    return frame
