"""Features of an image that survive cropping, resizing, mirroring and drawn marks.

An image is brought to one small square, which undoes every resize, and described by upright SIFT
points (Lowe 2004, doi:10.1023/B:VISI.0000029664.99615.94) with Hellinger-normalised descriptors
(RootSIFT, Arandjelović and Zisserman 2012, doi:10.1109/CVPR.2012.6248018). They are upright since
no copy of interest is rotated, and so the descriptor of the mirrored image is a mere
rearrangement of the image's own.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

SIDE = 160  # pixels of the square: speckle is averaged out, anatomy and texture are not
POINTS = 200

# A SIFT descriptor is 4 rows x 4 columns x 8 directions. Mirrored, its columns are reversed and
# direction k (of 45 degrees) becomes the direction 180 degrees - k.
_BINS = np.arange(128).reshape(4, 4, 8)
MIRROR = _BINS[:, ::-1][:, :, [(4 - k) % 8 for k in range(8)]].ravel()


@dataclass(frozen=True)
class DescribedImage:
    """One image, made comparable."""

    square: NDArray[np.uint8]  # (SIDE, SIDE)
    points: NDArray[np.float32]  # (n, 2): x, y in the square
    descriptors: NDArray[np.float32]  # (n, 128), of unit length

    def mirrored(self) -> DescribedImage:
        """The same for the image mirrored left to right."""
        points = self.points * (-1, 1) + (SIDE - 1, 0)
        flipped = np.ascontiguousarray(self.square[:, ::-1])
        return DescribedImage(flipped, points.astype(np.float32), self.descriptors[:, MIRROR])


def describe(image: NDArray[np.uint8]) -> DescribedImage:
    """The comparable form of an image, (H, W) uint8."""
    square = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.uint8)
    # No threshold on contrast: dark images have to be described too. Precise upscaling, since
    # otherwise all points lie a quarter pixel to one side and mirrored ones to the other.
    sift = cv2.SIFT.create(
        nfeatures=POINTS, contrastThreshold=0.0, edgeThreshold=20, enable_precise_upscale=True
    )
    found = {(*point.pt, point.size): point for point in sift.detect(square, None)}
    for point in found.values():
        point.angle = 0.0
    points, raw = sift.compute(square, list(found.values()))
    if raw is None:  # a blank image
        empty = np.zeros((0, 2), dtype=np.float32)
        return DescribedImage(square, empty, np.zeros((0, 128), dtype=np.float32))
    descriptors = np.sqrt(raw / np.maximum(raw.sum(axis=1, keepdims=True), 1e-9))
    places = np.array([point.pt for point in points], dtype=np.float32)
    return DescribedImage(square, places, descriptors)
