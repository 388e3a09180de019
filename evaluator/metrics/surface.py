"""How far is each boundary point of one mask from the other mask's boundary?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_SQUARE = np.ones((3, 3), dtype=bool)


def surface_distances(
    prediction: NDArray[np.bool_],
    reference: NDArray[np.bool_],
    spacing: tuple[float, float] | None,
    profile: str,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distances between the boundaries of two non-empty masks, both ways."""
    rows, columns = (
        slice(found.min(), found.max() + 1) for found in np.nonzero(prediction | reference)
    )
    edges = [boundary(mask, profile)[rows, columns] for mask in (prediction, reference)]
    maps: list[Any] = [ndimage.distance_transform_edt(~edge, sampling=spacing) for edge in edges]
    return maps[1][edges[0]], maps[0][edges[1]]


def boundary(mask: NDArray[np.bool_], profile: str) -> NDArray[np.bool_]:
    """A mask's boundary points under a profile, as a mask."""
    if profile == "native":
        return mask & ~ndimage.binary_erosion(mask)
    edge = mask & ~ndimage.binary_erosion(mask, _SQUARE, border_value=1)
    return edge if edge.any() else mask
