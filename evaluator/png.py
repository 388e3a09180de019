"""Decoding of the PNG images and masks that bundles contain."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluator.documents.base import MAX_SIDE
from evaluator.documents.sealed import SealedCase
from evaluator.errors import BusbenchError, Code
from evaluator.sealed import REMEDY


def decode_png(data: bytes, case: SealedCase, where: Path) -> NDArray[np.uint8]:
    """Decode a case's PNG to (H, W) uint8, 0 or 255 for masks; its size must be the index's."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.size != (case.width, case.height) or max(image.size) > MAX_SIDE:
                raise OSError("another size than the index says")
            return np.asarray(image.convert("L"), dtype=np.uint8)
    except OSError as error:
        raise BusbenchError(
            Code.BUNDLE_INVALID, f"{case.file} in {where} cannot be decoded ({error}).", REMEDY
        ) from error
