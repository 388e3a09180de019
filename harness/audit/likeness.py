"""Likeness of two aligned images, compared window by window.

Two things distinguish a copy from another frame of the same lesion, or from another lesion of
similar texture. A copy's windows correlate almost perfectly, wherever no mark was burnt in; and
none of them fits better elsewhere. Tissue moves between two frames, and speckle changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.floating]  # (H, W), float32
Flags = NDArray[np.bool_]  # (H, W)

WINDOW, WIDE = 15, 25  # sides of the windows, in pixels: for likeness, for movement
SMOOTH = 1.0  # sigma of a Gaussian, in pixels: one copy may be sharper than the other
CLIPPED = (
    4,
    250,
)  # grey levels up to and from which nothing can be read: background, saturated, marks
TEXTURE = 6.0  # grey levels squared: the variance from which a window shows something
FILLED, HALF_FILLED = 0.6, 0.4  # share of a window that must be useful
DIFFERENT = 0.5  # correlation below which a window shows something else: a mark, for instance


@dataclass(frozen=True)
class Field:
    """Likeness and movement of every window, at its centre."""

    likeness: Plane  # normalised cross-correlation
    move_x: Plane  # how far the second must still move to fit, in pixels
    move_y: Plane
    textured: Flags  # whether likeness counts
    trusted: Flags  # whether movement counts
    shared: Flags  # what both images show
    contrast: Plane  # of the second, as a multiple of the first's
    brightness: Plane  # of the second, less the first's, in grey levels


def compare(first: Plane, second: Plane) -> Field:
    """Compare two aligned images; `second` is negative where it shows nothing.

    Likeness is the normalised cross-correlation of windows of `WINDOW` pixels, clipped pixels left
    out (Lewis 1995, "Fast normalized cross-correlation"). Movement is that of Lucas and Kanade
    (1981, IJCAI) over `WIDE` pixels, after each window's own brightness and contrast are taken
    out, so that neither is mistaken for movement; windows that show something else are left out.
    """
    shared = second >= 0
    useful = _useful(first, second, shared)
    first, second = (_smooth(plane) for plane in (first, np.where(shared, second, 0)))
    filled, mean = _windows(useful, WINDOW)
    mean_1, mean_2 = mean(first), mean(second)
    variance_1, variance_2 = mean(first * first) - mean_1**2, mean(second * second) - mean_2**2
    spread_1, spread_2 = np.sqrt(np.maximum(variance_1, 1)), np.sqrt(np.maximum(variance_2, 1))
    likeness = (mean(first * second) - mean_1 * mean_2) / (spread_1 * spread_2)
    textured = (filled > FILLED) & (np.minimum(variance_1, variance_2) > TEXTURE)
    alike = useful * (textured & (likeness > DIFFERENT))
    flat_1, flat_2 = (first - mean_1) / spread_1, (second - mean_2) / spread_2
    move_x, move_y, known = _movement(flat_1, flat_2, alike)
    return Field(
        likeness=likeness,
        move_x=move_x,
        move_y=move_y,
        textured=textured,
        trusted=textured & known,
        shared=shared,
        contrast=spread_2 / spread_1,
        brightness=mean_2 - mean_1,
    )


def _useful(first: Plane, second: Plane, shared: Flags) -> Plane:
    """1 where both images show something, 0 elsewhere and one pixel around it."""
    darkest, brightest = np.minimum(first, second), np.maximum(first, second)
    inside = shared & (darkest > CLIPPED[0]) & (brightest < CLIPPED[1])
    kernel = np.ones((3, 3), dtype=np.uint8)
    return cv2.erode(inside.astype(np.float32), kernel, borderValue=(0,)).astype(np.float32)


def _smooth(plane: Plane) -> Plane:
    return cv2.GaussianBlur(plane, (0, 0), SMOOTH).astype(np.float32)


def _windows(weight: Plane, side: int) -> tuple[Plane, Callable[[Plane], Plane]]:
    """How filled each window is, and the weighted mean over each window."""

    def box(plane: Plane) -> Plane:
        return cv2.boxFilter(plane, -1, (side, side), borderType=cv2.BORDER_CONSTANT).astype(
            np.float32
        )

    filled = box(weight)
    return filled, lambda plane: np.divide(box(plane * weight), np.maximum(filled, 1e-3))


def _movement(first: Plane, second: Plane, weight: Plane) -> tuple[Plane, Plane, Flags]:
    """(x, y, where it is known): the shift of each window that brings `second` onto `first`."""
    filled, mean = _windows(weight, WIDE)
    both = first + second
    gx = cv2.Sobel(both, cv2.CV_32F, 1, 0, scale=1 / 16).astype(np.float32)  # of their mean
    gy = cv2.Sobel(both, cv2.CV_32F, 0, 1, scale=1 / 16).astype(np.float32)
    xx, yy, xy = mean(gx * gx), mean(gy * gy), mean(gx * gy)
    xd, yd = mean(gx * (first - second)), mean(gy * (first - second))
    area = np.maximum(xx * yy - xy * xy, 1e-9)
    move_x, move_y = (yy * xd - xy * yd) / area, (xx * yd - xy * xd) / area
    return move_x, move_y, filled > HALF_FILLED


@dataclass(frozen=True)
class Likeness:
    """What a field says of the two images as a whole."""

    similarity: float  # in [0, 1]: median correlation of the textured windows
    drift: float  # pixels: median movement of the trusted windows; infinite where there is none
    evidence: float  # share of what both show that textured windows cover
    marked: float  # share of the textured windows that show something else
    contrast: float  # median, second / first
    brightness: float  # median, second - first, in grey levels

    def inverted(self) -> Likeness:
        """The same, seen from the second image."""
        return replace(self, contrast=1 / self.contrast, brightness=-self.brightness)


def summarise(field: Field) -> Likeness:
    """Medians, so that what is drawn on one copy only does not count."""
    likeness = field.likeness[field.textured]
    if not likeness.size:
        return Likeness(0.0, np.inf, 0.0, 0.0, 1.0, 0.0)
    drift = np.hypot(field.move_x, field.move_y)[field.trusted]
    return Likeness(
        similarity=float(np.clip(np.median(likeness), 0, 1)),
        drift=float(np.median(drift)) if drift.size else np.inf,
        evidence=likeness.size / int(field.shared.sum()),
        marked=float((likeness < DIFFERENT).mean()),
        contrast=float(np.median(field.contrast[field.textured])),
        brightness=float(np.median(field.brightness[field.textured])),
    )
