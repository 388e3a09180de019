"""Registration of two images: the transform between them, and how alike they then are.

Matched points propose a transform (RANSAC over pairs of matches, Fischler and Bolles 1981,
doi:10.1145/358669.358692): a scale and a shift along each axis, which is all that resizing,
cropping and mirroring can do. The pixels then refine it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.audit.features import SIDE, DescribedImage
from harness.audit.likeness import WIDE, Field, Likeness, Plane, compare, summarise

Points = NDArray[np.float64]  # (n, 2): x, y

MATCHES = 100  # the best mutual matches, which are looked at
TRIALS = 300
TOLERANCE = 2.5  # pixels of the square within which a match obeys a transform
SCALES = (0.55, 1.8)  # what two crops and a change of aspect can make of an image
APART = 15  # pixels between two matches, along both axes, to compute a scale from them
INLIERS = 8  # fewer matches than this obey some transform by chance
ROUNDS = 4  # of refinement: each at least halves what is left


@dataclass(frozen=True)
class Alignment:
    """Where a point of the first square lies in the second: scale * point + shift."""

    scale: NDArray[np.float64]  # (2,): x, y
    shift: NDArray[np.float64]  # (2,): x, y, in pixels of the square
    mirrored: bool  # the first square is mirrored before

    def matrix(self, first: tuple[int, int], second: tuple[int, int]) -> NDArray[np.float64]:
        """(2, 3): the same between the images themselves, of shapes (height, width)."""
        (across, down), (right, below) = self.scale, self.shift
        squares = np.array([[across, 0, right], [0, down, below], [0, 0, 1]])
        if self.mirrored:
            squares = squares @ np.array([[-1, 0, SIDE - 1], [0, 1, 0], [0, 0, 1]])
        whole = np.linalg.inv(_to_square(second)) @ squares @ _to_square(first)
        return np.asarray(whole[:2])

    def inverted(self) -> Alignment:
        """Where a point of the second square lies in the first."""
        shift = -self.shift / self.scale
        if self.mirrored:
            shift[0] = (SIDE - 1) * (1 - 1 / self.scale[0]) - shift[0]
        return Alignment(1 / self.scale, shift, self.mirrored)


def _to_square(shape: tuple[int, int]) -> NDArray[np.float64]:
    """(3, 3): from pixels of an image to pixels of its square; pixel centres are whole numbers."""
    x, y = SIDE / shape[1], SIDE / shape[0]
    return np.array([[x, 0, x / 2 - 0.5], [0, y, y / 2 - 0.5], [0, 0, 1]])


def propose(first: DescribedImage, second: DescribedImage, mirrored: bool) -> Alignment | None:
    """The transform that most matched points agree on, or None where too few agree."""
    source, target = _matches(first.mirrored() if mirrored else first, second)
    if len(source) < INLIERS:
        return None
    agreed = _best_trial(source, target)
    for _ in range(2):
        if agreed.sum() < INLIERS:
            return None
        scale, shift = _lines(source[agreed], target[agreed])
        agreed = np.abs(source * scale + shift - target).max(axis=1) < TOLERANCE
    return Alignment(scale, shift, mirrored) if agreed.sum() >= INLIERS else None


def _matches(first: DescribedImage, second: DescribedImage) -> tuple[Points, Points]:
    """Points that are each other's nearest by descriptor, the most similar first."""
    if not len(first.points) or not len(second.points):
        return np.zeros((0, 2)), np.zeros((0, 2))
    alike = first.descriptors @ second.descriptors.T
    nearest = alike.argmax(axis=1)
    mutual = np.flatnonzero(alike.argmax(axis=0)[nearest] == np.arange(len(nearest)))
    order = np.argsort(-alike[mutual, nearest[mutual]], kind="stable")[:MATCHES]
    kept = mutual[order]
    return first.points[kept].astype(float), second.points[nearest[kept]].astype(float)


def _best_trial(source: Points, target: Points) -> NDArray[np.bool_]:
    """Which matches obey the transform, of those that pairs of matches fix, with most support."""
    one, other = np.random.default_rng(0).integers(0, len(source), (2, TRIALS))
    apart = (np.abs(source[one] - source[other]) > APART).all(axis=1)
    one, other = one[apart], other[apart]
    scale = (target[one] - target[other]) / (source[one] - source[other])
    sound = ((scale > SCALES[0]) & (scale < SCALES[1])).all(axis=1)
    if not sound.any():
        return np.zeros(len(source), dtype=bool)
    scale, one = scale[sound], one[sound]
    shift = target[one] - scale * source[one]
    error = np.abs(source[None] * scale[:, None] + shift[:, None] - target[None]).max(axis=2)
    obeyed = error < TOLERANCE
    return np.asarray(obeyed[obeyed.sum(axis=1).argmax()])


def _lines(x: Points, y: Points) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Slope and offset, along each axis, of the least-squares line from `x` to `y`."""
    spread = x - x.mean(axis=0)
    slope = (spread * y).sum(axis=0) / np.maximum((spread * spread).sum(axis=0), 1e-6)
    return slope, y.mean(axis=0) - slope * x.mean(axis=0)


def align(
    first: DescribedImage, second: DescribedImage, start: Alignment
) -> tuple[Alignment, Likeness]:
    """Refine a transform on the pixels; and how alike the two images then are."""
    source = (first.mirrored() if start.mirrored else first).square.astype(np.float32)
    alignment, field = start, compare(source, _laid(second, start))
    for _ in range(ROUNDS):
        if field.trusted.sum() < WIDE * WIDE:
            break
        alignment = _moved(alignment, field)
        field = compare(source, _laid(second, alignment))
    return alignment, summarise(field)


def overlap(alignment: Alignment) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Which share of the first, and of the second, both show along x and along y."""
    edges = np.array([-0.5, SIDE - 0.5])[:, None]
    inside = np.clip((edges - alignment.shift) / alignment.scale, -0.5, SIDE - 0.5)
    seen = np.maximum(np.diff(inside, axis=0)[0], 0) / SIDE
    return seen, np.minimum(seen * alignment.scale, 1)


def _laid(second: DescribedImage, alignment: Alignment) -> Plane:
    """The second square laid on the first (mirrored, where it is); -1 where it shows nothing."""
    (across, down), (right, below) = alignment.scale, alignment.shift
    matrix = np.array([[across, 0, right], [0, down, below]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    plane = second.square.astype(np.float32)
    laid = cv2.warpAffine(plane, matrix, (SIDE, SIDE), flags=flags, borderValue=(-1000.0,))
    return np.where(laid < 0, np.float32(-1), laid).astype(np.float32)


def _moved(alignment: Alignment, field: Field) -> Alignment:
    """The alignment after the movement that its windows ask for."""
    rows, columns = np.nonzero(field.trusted)
    places = np.stack([columns, rows], axis=1).astype(float)
    moves = np.stack([field.move_x[rows, columns], field.move_y[rows, columns]], axis=1)
    slope, offset = _lines(places, places + moves)
    return replace(
        alignment,
        scale=alignment.scale * slope,
        shift=alignment.shift + alignment.scale * offset,
    )
