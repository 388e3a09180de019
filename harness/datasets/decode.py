"""Decoding of an image or mask file: whole pixels, or a refusal.

A file is read to its last byte: a truncated or damaged one must never become a half-black case.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import TiffImageFile

from evaluator.documents.base import MAX_SIDE
from evaluator.errors import Code
from harness.datasets.base import RefusedError
from harness.datasets.medical import is_medical, read_medical
from harness.datasets.pixels import Decoded, look_alike, to_bytes

# What Pillow raises on damaged files, beside OSError, depending on the format.
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
ORIENTATION = 0x0112  # the EXIF tag, which TIFF shares
PHOTOMETRIC = 0x0106  # the TIFF tag; 0: the least value is white
SAMPLE_FORMAT, SIGNED = 0x0153, 2  # the TIFF tag


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
            deep = any(";16" in str(tile.args) for tile in image.tile)  # of the file, not of Pillow
            orientation = image.getexif().get(ORIENTATION, 1)  # of a PNG, this loads it
            if orientation != 1 and isinstance(image, TiffImageFile):
                raise ValueError("Pillow misreads turned TIFF files: save it upright")
            image.load()
            coloured = deep and not image.mode.startswith(("I", "F"))
            decoded = _deep_colour(path, orientation) if coloured else _plain(image)
        if orientation == 1:
            return decoded
        notes = ("turned upright as its EXIF orientation says", *decoded.notes)
        return replace(decoded, notes=notes, orientation=orientation)
    except (*DAMAGED, Image.DecompressionBombError) as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        if isinstance(error, UnidentifiedImageError):
            line = "it is damaged, or of a kind that is not read here: save it as PNG"
        reason = f"cannot be decoded ({line.replace(repr(str(path)), 'the file')})"
        raise RefusedError(Code.IMAGE_UNREADABLE, path, reason) from error


def _check(path: Path, image: Image.Image) -> None:
    if max(image.size) > MAX_SIDE:
        reason = f"has {image.width} x {image.height} pixels, more than {MAX_SIDE} on a side"
        raise RefusedError(Code.DATA_REFUSED, path, reason)
    if getattr(image, "n_frames", 1) > 1:
        raise RefusedError(Code.DATA_REFUSED, path, "contains more than one frame")


def _plain(image: Image.Image) -> Decoded:
    """The pixels as Pillow has them, upright.

    Raises:
        ValueError: where Pillow would take them for other values.
    """
    tags: Mapping[int, Any] = image.tag_v2 if isinstance(image, TiffImageFile) else {}
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        return _deep_grey(image, tags)
    if SIGNED in tags.get(SAMPLE_FORMAT, ()):
        raise ValueError("its pixels are signed bytes: save it with unsigned ones")
    mode = "RGBA" if image.has_transparency_data else "L" if image.mode in ("1", "L") else "RGB"
    pixels = np.asarray(image.convert(mode), dtype=np.uint8)
    return Decoded(pixels, lost_labels=image.mode == "P" and _alike(image, pixels))


def _deep_grey(image: Image.Image, tags: Mapping[int, Any]) -> Decoded:
    """More than 8 bits of grey; `tags` are those of a TIFF file."""
    values = np.asarray(image)
    if image.mode == "I" and values.min() < 0 and SIGNED not in tags.get(SAMPLE_FORMAT, ()):
        raise ValueError("its 32 bits are read as negative numbers: save it with 16")
    if "transparency" in image.info:
        raise ValueError("its 16 bits with a transparent value are not supported: save it with 8")
    if tags.get(PHOTOMETRIC) == 0:  # white is zero, which Pillow follows up to 8 bits only
        values = values.max() - values.astype(np.float64)
    pixels, notes = to_bytes(values)
    return Decoded(pixels, notes, lost_labels=look_alike(values, pixels))


def _alike(image: Image.Image, pixels: NDArray[np.uint8]) -> bool:
    """Whether fewer colours than entries of the palette are to be seen."""
    seen = np.unique(pixels.reshape(-1, pixels.shape[-1]), axis=0)
    return len(seen) < len(np.unique(np.asarray(image)))


def _deep_colour(path: Path, orientation: int) -> Decoded:
    """Colour or alpha of 16 bits, of which Pillow would drop the lower 8.

    Raises:
        ValueError: where OpenCV cannot read it, or would have to turn it.
    """
    values = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    if orientation != 1 or values is None or values.dtype != np.uint16 or values.ndim != 3:
        raise ValueError("its 16 bits a channel are not supported here: save it with 8")
    colour, notes = to_bytes(values[..., 2::-1])
    alpha = np.rint(values[..., 3:] / 257).astype(np.uint8)
    lost = look_alike(values[..., :3], colour)
    return Decoded(np.concatenate((colour, alpha), axis=2), notes, lost_labels=lost)
