"""Reader of a challenge's logo: a PNG file, checked, and then published byte for byte.

PNG alone: an SVG may contain scripts and load from other hosts once a reader opens it by itself.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from PIL import Image, UnidentifiedImageError

from evaluator.documents.reading import read_bytes
from evaluator.errors import BusbenchError, Code

MOST_KIB = 256
MOST_PIXELS = 2000  # of a side
REMEDY = (
    f"Name a PNG file of at most {MOST_KIB} KiB and {MOST_PIXELS} pixels a side as "
    "logo of challenge.yaml, or leave it out."
)


@dataclass(frozen=True)
class Logo:
    """A logo, and how large it is."""

    file: ClassVar[str] = "logo.png"  # in the site
    data: bytes
    width: int  # pixels
    height: int


def read_logo(path: Path) -> Logo:
    """The logo at `path`.

    Raises:
        BusbenchError: `challenge-invalid` where the file is missing, too large, or not one whole
            PNG image.
    """
    data = read_bytes(path, MOST_KIB << 10, Code.CHALLENGE_INVALID, remedy=REMEDY)
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            width, height = image.size
            if max(image.size) > MOST_PIXELS:  # before a pixel is decoded
                raise ValueError(f"it has {width} × {height} pixels")
            if getattr(image, "n_frames", 1) != 1:
                raise ValueError("it is animated")
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        why = "it is no PNG file" if isinstance(error, UnidentifiedImageError) else error
        message = f"{path} cannot be the challenge's logo ({why})."
        raise BusbenchError(Code.CHALLENGE_INVALID, message, REMEDY) from error
    return Logo(data, width, height)
