"""Decoded pixels of a file, with what the file says of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Decoded:
    """A file's pixels."""

    pixels: NDArray[np.uint8]  # (H, W) grey, (H, W, 3) colour, (H, W, 4) with alpha
    notes: tuple[str, ...] = ()  # what decoding had to change
    spacing: tuple[float, float] | None = None  # (row, column) in millimetres, where stated


def to_bytes(pixels: NDArray[Any]) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Values of any depth as 8 bits: as they are where they fit, else from range to range.

    Args:
        pixels: of any real type and any shape.

    Returns:
        uint8 of the same shape, and what was changed.
    """
    values = pixels.astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 255 and bool((values == np.rint(values)).all()):
        return values.astype(np.uint8), ()
    scaled = np.rint((values - low) * (255 / ((high - low) or 1)))
    return scaled.astype(np.uint8), (f"grey values {low:g} to {high:g} scaled to 0 to 255",)
