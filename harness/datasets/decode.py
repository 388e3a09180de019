"""What does a file of an image or a mask really hold? Whole pixels, or a refusal.

A file is read to its last byte: a truncated or damaged one must never become a half-black case.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from evaluator.contract import MAX_SIDE
from harness.datasets.base import RefusedError

# What Pillow raises on damaged files, beside OSError, depending on the format.
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
PLAIN = {"1": "L", "L": "L", "LA": "RGBA", "RGB": "RGB", "RGBA": "RGBA"}


@dataclass(frozen=True)
class Decoded:
    """A file's pixels."""

    pixels: NDArray[np.uint8]  # (H, W) grey, (H, W, 3) colour, (H, W, 4) with alpha
    notes: tuple[str, ...] = ()  # what decoding had to change


def decode(path: Path) -> Decoded:
    """Read an image or mask file completely.

    Raises:
        RefusedError: where it is damaged, larger than `MAX_SIDE`, or holds several frames.
    """
    try:
        with Image.open(path) as image:
            _check(path, image)
            image.verify()  # checksums of a PNG; decoding alone skips them
        with Image.open(path) as image:
            image.load()
            return _plain(image)
    except (*DAMAGED, Image.DecompressionBombError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        reason = f"cannot be decoded ({line.replace(str(path), 'the file')})"
        raise RefusedError("image-unreadable", path, reason) from error


def _check(path: Path, image: Image.Image) -> None:
    if max(image.size) > MAX_SIDE:
        reason = f"has {image.width} x {image.height} pixels, more than {MAX_SIDE} on a side"
        raise RefusedError("data-refused", path, reason)
    if getattr(image, "n_frames", 1) > 1:
        raise RefusedError("data-refused", path, "holds more than one frame")


def _plain(image: Image.Image) -> Decoded:
    notes = []
    if image.getexif().get(0x0112, 1) != 1:  # the EXIF tag of orientation
        image = ImageOps.exif_transpose(image)
        notes.append("turned upright as its EXIF orientation says")
    mode = "RGBA" if "transparency" in image.info else PLAIN.get(image.mode, "RGB")
    if image.mode.startswith(("I", "F")):
        pixels, note = to_bytes(np.asarray(image))
        return Decoded(pixels, (*notes, *note))
    return Decoded(np.asarray(image.convert(mode), dtype=np.uint8), tuple(notes))


def to_bytes(pixels: NDArray[np.generic]) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Grey values of any depth as 8 bits: as they are where they fit, else from range to range.

    Args:
        pixels: (H, W) of any real type.

    Returns:
        (H, W) uint8, and what was changed.
    """
    values = pixels.astype(np.float64)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 255 and bool((values == np.rint(values)).all()):
        return values.astype(np.uint8), ()
    scaled = np.rint((values - low) * (255 / ((high - low) or 1)))
    return scaled.astype(np.uint8), (f"grey values {low:g} to {high:g} scaled to 0 to 255",)
