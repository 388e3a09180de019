"""Reader of the masks that a participant's image left: hostile PNG files, bounded and checked."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluator.documents.reading import read_bytes
from evaluator.errors import BusbenchError, Code
from evaluator.images.naming import Shown

REMEDY = (
    "Write one PNG of one channel for each image of images.json, under its name, of its size, "
    "with 0 for background and 255 (or 1) for lesion."
)
MODES = ("1", "L")  # Pillow's names of one channel of one or of eight bits
SPARE = 1 << 16  # bytes of a PNG beside its pixels


def read_mask(folder: Path, image: Shown) -> NDArray[np.bool_]:
    """The mask (H, W) of one image.

    No message says which image it is, but for its random name, or how large: the size of a
    transformed image is secret.

    Raises:
        BusbenchError: `predictions-invalid` where the file is missing, a link, too large, no PNG,
            of another size, of more than one channel, or has other values than 0 and 255, or 0
            and 1.
    """
    path = folder / image.file
    if path.is_symlink() or not path.is_file():
        raise _refused(image, "is missing")
    limit = 2 * image.height * image.width + SPARE
    data = read_bytes(path, limit, Code.PREDICTIONS_INVALID, remedy=REMEDY)
    with _decoding(image), Image.open(io.BytesIO(data), formats=["PNG"]) as opened:
        if opened.size != (image.width, image.height):  # before a pixel is decoded
            raise _refused(image, "is of another size than its image")
        if opened.mode not in MODES or getattr(opened, "n_frames", 1) != 1:
            raise _refused(image, f"has the mode {opened.mode}, not one channel of 1 or 8 bits")
        pixels = np.asarray(opened.convert("L"))
    values = np.flatnonzero(np.bincount(pixels.ravel(), minlength=256))
    if not {*values.tolist()} <= {0, 255} and not {*values.tolist()} <= {0, 1}:
        raise _refused(image, "has values other than 0 and 255, or 0 and 1")
    return pixels > 0


@contextmanager
def _decoding(image: Shown) -> Iterator[None]:
    try:
        yield
    except (OSError, SyntaxError, ValueError, EOFError, zlib.error) as error:
        raise _refused(image, "is no PNG that can be decoded") from error
    except Image.DecompressionBombError as error:
        raise _refused(image, "is too large") from error


def _refused(image: Shown, why: str) -> BusbenchError:
    return BusbenchError(Code.PREDICTIONS_INVALID, f"The mask {image.file} {why}.", REMEDY)
