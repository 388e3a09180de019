"""Decoding of an image or mask file: whole pixels, or a refusal.

A file is read to its last byte: a truncated or damaged one must never become a half-black case.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from evaluator.documents.base import MAX_SIDE
from evaluator.errors import Code
from harness.datasets.base import RefusedError
from harness.datasets.medical import is_medical, read_medical
from harness.datasets.pixels import Decoded, to_bytes

# What Pillow raises on damaged files, beside OSError, depending on the format.
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
PLAIN = {"1": "L", "L": "L", "LA": "RGBA", "RGB": "RGB", "RGBA": "RGBA"}
ORIENTATION = 0x0112  # the EXIF tag


def decode(path: Path) -> Decoded:
    """Read an image or mask file completely.

    Raises:
        RefusedError: where it is damaged, larger than `MAX_SIDE`, or contains several frames.
    """
    try:
        if is_medical(path):
            return read_medical(path)
        with Image.open(path) as image:
            _check(path, image)
            image.verify()  # checksums of a PNG; decoding alone skips them
        with Image.open(path) as image:
            image.load()
            return _plain(image)
    except (*DAMAGED, Image.DecompressionBombError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        reason = f"cannot be decoded ({line.replace(repr(str(path)), 'the file')})"
        raise RefusedError(Code.IMAGE_UNREADABLE, path, reason) from error


def _check(path: Path, image: Image.Image) -> None:
    if max(image.size) > MAX_SIDE:
        reason = f"has {image.width} x {image.height} pixels, more than {MAX_SIDE} on a side"
        raise RefusedError(Code.DATA_REFUSED, path, reason)
    if getattr(image, "n_frames", 1) > 1:
        raise RefusedError(Code.DATA_REFUSED, path, "contains more than one frame")


def _plain(image: Image.Image) -> Decoded:
    notes = tuple[str, ...]()
    if image.getexif().get(ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
        notes = ("turned upright as its EXIF orientation says",)
    if image.mode.startswith(("I", "F")):
        pixels, note = to_bytes(np.asarray(image))
        return Decoded(pixels, (*notes, *note))
    mode = "RGBA" if "transparency" in image.info else PLAIN.get(image.mode, "RGB")
    return Decoded(np.asarray(image.convert(mode), dtype=np.uint8), notes)
