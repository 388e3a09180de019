"""Decoded pixels of a file, with what the file says of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Geometry:
    """Where a medical file places its plane: millimetres and axes in the patient's space."""

    spacing: tuple[float, float]  # (across, down), or (1, 1) where the file states none
    origin: tuple[float, ...]  # centre of the first pixel
    direction: tuple[float, ...]  # rows of the matrix of axes: 2 x 2 or 3 x 3

    def to_space(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Matrix (3, 2) and offset (3,) that place a pixel (across, down) in space."""
        axes, offset = np.eye(3), np.zeros(3)
        size = len(self.origin)
        axes[:size, :size] = np.reshape(self.direction, (size, size))
        offset[:size] = self.origin
        return axes[:, :2] * np.asarray(self.spacing), offset

    def is_close(self, other: Geometry) -> bool:
        """Whether both place every pixel alike, to a hundredth of a pixel's side."""
        pairs = zip(self.to_space(), other.to_space(), strict=True)
        return all(np.allclose(a, b, rtol=0, atol=min(self.spacing) / 100) for a, b in pairs)


@dataclass(frozen=True)
class Decoded:
    """A file's pixels."""

    pixels: NDArray[np.uint8]  # (H, W) grey, (H, W, 3) colour, (H, W, 4) with alpha
    notes: tuple[str, ...] = ()  # what decoding had to change
    spacing: tuple[float, float] | None = None  # (row, column) in millimetres, where stated
    orientation: int = 1  # of EXIF; the pixels are upright already
    geometry: Geometry | None = None  # of a medical file
    lost_labels: bool = False  # two of its few values, or entries of its palette, look alike here

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is transparency."""
        return self.pixels.shape[2:] == (4,)


LABEL_VALUES = 16  # a mask with more values has grey, not numbers


def look_alike(values: NDArray[Any], pixels: NDArray[np.uint8]) -> bool:
    """Whether values few enough to be labels, (H, W), became fewer in 8 bits."""
    left = int(np.count_nonzero(np.bincount(pixels.ravel())))  # cheap, and tells of most images
    return left <= LABEL_VALUES and left < len(np.unique(values)) <= LABEL_VALUES + 1


def over_black(decoded: Decoded) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Grey or colour laid over black where alpha lets it through, and what was changed."""
    if not decoded.has_alpha:
        return decoded.pixels, decoded.notes
    colour, alpha = decoded.pixels[..., :3], decoded.pixels[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(colour), (*decoded.notes, "opaque alpha channel dropped")
    blended = np.rint(colour * (alpha / 255.0)).astype(np.uint8)
    return blended, (*decoded.notes, "transparent pixels laid over black")


def size_text(shape: tuple[int, ...]) -> str:
    """Width x height, as people say it."""
    return f"{shape[1]} x {shape[0]}"


def to_bytes(pixels: NDArray[Any]) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Values of any depth as 8 bits: as they are where they fit, else from range to range.

    Args:
        pixels: of any real type and any shape.

    Returns:
        uint8 of the same shape, and what was changed.

    Raises:
        ValueError: where a value is not finite: no range contains it.
    """
    if not np.isfinite(pixels).all():
        raise ValueError("it contains values that are not finite")
    values = pixels.astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 255 and bool((values == np.rint(values)).all()):
        return values.astype(np.uint8), ()
    scaled = np.rint((values - low) * (255 / ((high - low) or 1)))
    return scaled.astype(np.uint8), (f"grey values {low:g} to {high:g} scaled to 0 to 255",)
