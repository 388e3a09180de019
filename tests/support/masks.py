"""Masks for the metrics' tests, and the metrics' definitions written down as slowly as possible."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.distance import cdist


def blobs(rng: np.random.Generator, shape: tuple[int, int]) -> Any:
    """Several components of any form, some with gaps, some at the border."""
    field = ndimage.gaussian_filter(rng.random(shape), rng.uniform(0.5, 3), mode="wrap")
    return field > np.quantile(field, rng.uniform(0.3, 0.95))


def noise(rng: np.random.Generator, shape: tuple[int, int]) -> Any:
    return rng.random(shape) < rng.choice([0.01, 0.1, 0.5, 0.9, 0.99])


def pixel(rng: np.random.Generator, shape: tuple[int, int]) -> Any:
    mask = np.zeros(shape, dtype=bool)
    mask[rng.integers(shape[0]), rng.integers(shape[1])] = True
    return mask


def row(rng: np.random.Generator, shape: tuple[int, int]) -> Any:
    mask = np.zeros(shape, dtype=bool)
    mask[rng.integers(shape[0])] = True
    return mask


def column(rng: np.random.Generator, shape: tuple[int, int]) -> Any:
    return row(rng, shape[::-1]).T


def frame(rng: np.random.Generator, shape: tuple[int, int]) -> Any:
    """All four borders and a hole in the middle."""
    mask = np.ones(shape, dtype=bool)
    mask[1:-1, 1:-1] = False
    return mask


def whole(rng: np.random.Generator, shape: tuple[int, int]) -> Any:
    return np.ones(shape, dtype=bool)


def holed(rng: np.random.Generator, shape: tuple[int, int]) -> Any:
    """The whole image but for a few pixels."""
    return ~(noise(rng, shape) & (rng.random(shape) < 0.05))


def box(rng: np.random.Generator, shape: tuple[int, int]) -> Any:
    mask = np.zeros(shape, dtype=bool)
    (top, bottom), (left, right) = (np.sort(rng.integers(0, side + 1, 2)) for side in shape)
    mask[top : bottom + 1, left : right + 1] = True
    return mask


def checkerboard(rng: np.random.Generator, shape: tuple[int, int]) -> Any:
    return np.indices(shape).sum(0) % 2 == rng.integers(2)


KINDS = (blobs, noise, pixel, row, column, frame, whole, holed, box, checkerboard)


def any_mask(rng: np.random.Generator, shape: tuple[int, int]) -> Any:
    """A mask of any kind, never empty."""
    while True:
        mask = KINDS[rng.integers(len(KINDS))](rng, shape)
        if mask.any():
            return mask


def any_shape(rng: np.random.Generator, most: Any) -> Any:
    """Height and width: mostly small, sometimes a single row or column."""
    return tuple(int(side) for side in rng.integers(1, rng.integers(2, most + 1), 2))


def plain_boundary(mask: NDArray[np.bool_], profile: Any = "native") -> Any:
    """The declared boundary, neighbour by neighbour."""
    outside = profile == "awesome-bus-2025"
    padded = np.pad(mask, 1, constant_values=outside)
    height, width = mask.shape
    inside = mask.copy()
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            if profile == "awesome-bus-2025" or abs(down) + abs(right) == 1:
                inside &= padded[1 + down : 1 + down + height, 1 + right : 1 + right + width]
    edge = mask & ~inside
    return edge if edge.any() else mask


def brute_distances(
    prediction: Any, reference: Any, spacing: Any = None, *, profile: Any = "native"
) -> Any:
    """Every boundary point against every other: (prediction to reference, the other way)."""
    ours, theirs = (
        np.argwhere(plain_boundary(mask, profile)) * np.array(spacing or (1, 1), dtype=float)
        for mask in (prediction, reference)
    )
    apart = cdist(ours, theirs)
    return apart.min(axis=1), apart.min(axis=0)


def transform_distances(prediction: Any, reference: Any, spacing: Any = None) -> Any:
    """The same for `native` on large images, by SciPy's exact distance transform."""
    ours, theirs = (mask & ~ndimage.binary_erosion(mask) for mask in (prediction, reference))
    return tuple(
        ndimage.distance_transform_edt(~edge, sampling=spacing)[points]
        for points, edge in ((ours, theirs), (theirs, ours))
    )


def larger_percentile(directed: Any, percent: Any = 95) -> Any:
    return max(np.percentile(distances, percent) for distances in directed)


def _spiral(side: int) -> Any:
    """One line that winds inwards with three pixels between its turns."""
    y, x = np.indices((side, side)) - (side - 1) / 2
    turn = np.arctan2(y, x) / (2 * np.pi)
    return (np.hypot(y, x) / 4 - turn) % 1 < 0.3


def _placed(side: int, rows: Any, columns: Any) -> Any:
    mask = np.zeros((side, side), dtype=bool)
    mask[rows, columns] = True
    return mask


def _chosen(side: int, share: float) -> Any:
    return np.random.default_rng(side).random((side, side)) < share


# What a participant might hand in to keep the scorer busy, by side length; none is empty.
HOSTILE: dict[str, Any] = {
    "checkerboard": lambda side: np.indices((side, side)).sum(0) % 2 == 0,
    "dots": lambda side: _placed(side, slice(None, None, 2), slice(None, None, 2)),
    "far dots": lambda side: _placed(side, slice(None, None, 16), slice(None, None, 16)),
    "stripes": lambda side: np.indices((side, side))[0] % 2 == 0,
    "columns": lambda side: np.indices((side, side))[1] % 2 == 0,
    "full": lambda side: np.ones((side, side), dtype=bool),
    "spiral": _spiral,
    "noise": lambda side: _chosen(side, 0.5),
    "thin noise": lambda side: _chosen(side, 0.02) | _placed(side, 0, 0),
    "half noise": lambda side: _chosen(side, 0.5) & (np.indices((side, side))[1] * 2 >= side),
    "one a column": lambda side: _placed(
        side, np.random.default_rng(0).permutation(side), np.arange(side)
    ),
    "diagonal": lambda side: np.eye(side, dtype=bool),
    "bowl": lambda side: _placed(
        side, (np.linspace(-1, 1, side) ** 2 * (side - 1)).astype(int), np.arange(side)
    ),
    "top row": lambda side: _placed(side, 0, slice(None)),
    "left half": lambda side: np.indices((side, side))[1] * 2 < side,
    "pixel": lambda side: _placed(side, 0, 0),
    "lesion": lambda side: _placed(
        side, slice(side // 2, side * 5 // 8 + 1), slice(side // 2, side * 5 // 8 + 1)
    ),
}
