"""Small images of cases for the site, and the outlines of masks that are laid over them.

A thumbnail is a WebP file without metadata; one image always gives the same bytes. Outlines are
paths of their own in the page, so that one thumbnail serves any number of methods.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.export.citation import LICENCES, release_of

SIDE = 400  # pixels of the longer side, at most
MOST_BYTES = 25_000  # of a thumbnail
LONGEST = 6000  # characters of a mask's outlines
MOST_POINTS, FEW = 20_000, 500  # of an outline: to straighten more takes long; what is kept then
QUALITIES = (80, 65, 50, 35, 20, 5)  # the first that is small enough is taken


@dataclass(frozen=True)
class Thumbnail:
    """A thumbnail, and how large its image is."""

    file: str  # its place in the site
    data: bytes
    width: int  # pixels of the image, in which outlines count
    height: int

    @classmethod
    def of(cls, file: str, image: NDArray[np.uint8]) -> Thumbnail:
        """The thumbnail of an image (H, W), grey, at most `SIDE` wide or high."""
        height, width = image.shape
        scale = min(1.0, SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = Image.fromarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
        files = (_webp(small, quality) for quality in QUALITIES)
        data = next((file for file in files if len(file) <= MOST_BYTES), None)
        return cls(file, data or _webp(small, 0), width, height)


def _webp(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=6)
    return buffer.getvalue()


def outline(mask: NDArray[np.bool_]) -> str:
    """The outlines, also inner ones, of a mask (H, W), as the `d` of an SVG path.

    In pixels of the image, whose left upper corner is at 0 0; straightened where that moves an
    outline by less than a pixel of the thumbnail. Of a mask that is noise the smallest outlines are
    left out, so that none is longer than `LONGEST`. Empty of an empty mask.
    """
    least = 0.5 * max(1.0, max(mask.shape) / SIDE)
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    paths, left = list[str](), LONGEST
    for each in sorted(found, key=len, reverse=True):
        path = _path(each, least) if len(each) <= MOST_POINTS else ""
        if not path or len(path) > LONGEST:
            path = _path(np.ascontiguousarray(each[:: -(-len(each) // FEW)]), least)
        left -= len(path)
        if left < 0:
            break
        paths.append(path)
    return "".join(paths)


def _path(contour: NDArray[Any], least: float) -> str:
    """One closed outline: pixel centres are half a pixel from their corners."""
    points = cv2.approxPolyDP(contour, least, closed=True)[:, 0]
    left, top = points[0].tolist()
    steps = np.diff(points, axis=0).tolist()
    moves = "".join(f"{'' if x < 0 else ' '}{x}{'' if y < 0 else ' '}{y}" for x, y in steps)
    return f"M{left}.5 {top}.5l{moves or '0 0'}z"


@dataclass(frozen=True)
class Credit:
    """Whose images are shown, and on which terms."""

    dataset: str
    cite: str
    terms: str
    licence: str | None  # the file of the site with the licence's text, where every copy needs it

    @classmethod
    def of(cls, dataset: str) -> Credit:
        """That of a dataset."""
        release = release_of(dataset)
        file = f"licences/{dataset}.txt" if (LICENCES / f"{dataset}.txt").exists() else None
        return cls(dataset, release.paper, release.terms, file)

    @property
    def data(self) -> bytes:
        """The licence's text."""
        return (LICENCES / f"{self.dataset}.txt").read_bytes()
