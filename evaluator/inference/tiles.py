"""Tiles: where a large image is cut, and how their maps become one map of the image.

Places and weights are those of nnU-Net's sliding window, so that a network that was validated with
it sees the same tiles here. What is blended is what the network gives: logits before their sigmoid
or softmax, probabilities or zeros and ones as they are.

Source: Isensee et al., "nnU-Net", Nature Methods 18 (2021), section "Inference".
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

from evaluator.documents.input_spec import Blend, InputSpec
from evaluator.inference.placement import box_of

Maps = NDArray[np.float32]
TILES = 4  # of one image that `auto` runs together: few images have more, and a batch is filled up
_SIGMA = 1 / 8  # of a tile's side


def starts(side: int, tile: int, spec: InputSpec) -> list[int]:
    """The first pixels of the tiles along a side, evenly spaced from one end to the other.

    Args:
        side, tile: in pixels; a side is no smaller than its tile.
    """
    places = np.linspace(0, side - tile, spec.tiles(side, tile)).round()
    return [int(place) for place in places]


@cache
def weigh(height: int, width: int, blend: Blend) -> NDArray[np.float64]:
    """The weight (height, width) of each pixel of a tile, above 0.

    `gaussian` falls from 1 in the middle with a standard deviation of an eighth of each side;
    `constant` is 1.
    """
    if blend == "constant":
        return np.ones((height, width))
    down, across = (
        np.exp(-0.5 * ((np.arange(side) - side // 2) / (side * _SIGMA)) ** 2)
        for side in (height, width)
    )
    return np.outer(down, across)


def map_tiles(
    image: Maps, spec: InputSpec, run: Callable[[Maps], Maps], *, maps: int, size: int
) -> Maps:
    """The map (K, H, W) of an image (C, H, W), whose tiles run in batches in their order.

    It depends on nothing but the image, the network and, where its rounding does, `size`.

    Args:
        spec: of tiles; neither side of the image is below theirs.
        run: from inputs (N, C, height, width) to maps (N, K, height, width).
        maps: K, that the network gives.
        size: tiles a run.
    """
    corners = corners_of(image, spec)
    weights = weigh(*spec.size, spec.blend or "constant")
    total, blended = np.zeros(image.shape[1:]), np.zeros((maps, *image.shape[1:]))
    for at in range(0, len(corners), size):
        places = corners[at : at + size]
        made = run(np.stack([image[:, *place] for place in places]))
        for place, each in zip(places, made, strict=True):
            blended[:, *place] += each * weights
            total[place] += weights
    return (blended / total).astype(np.float32)


def map_image(
    image: Maps, spec: InputSpec, run: Callable[[Maps], Maps], *, outside: Maps, size: int
) -> Maps:
    """As `map_tiles`, of an image that may be NaN around the box that its network sees.

    Tiles are cut of the box alone, which is centred among zeros where a tile is larger.

    Args:
        outside: (K, 1, 1), the maps around the box.
    """
    box, inner = _box_in(image, spec)
    if box is None:
        return map_tiles(inner, spec, run, maps=len(outside), size=size)
    rows, columns = box
    height, width = rows.stop - rows.start, columns.stop - columns.start
    found = np.repeat(np.repeat(outside, image.shape[1], axis=1), image.shape[2], axis=2)
    if height:
        top, left = (inner.shape[1] - height) // 2, (inner.shape[2] - width) // 2
        maps = map_tiles(inner, spec, run, maps=len(outside), size=size)
        found[:, rows, columns] = maps[:, top : top + height, left : left + width]
    return found


def first_tile(image: Maps, spec: InputSpec) -> Maps:
    """The first input (C, height, width) that an image (C, H, W) becomes."""
    _, inner = _box_in(image, spec)
    first: Maps = inner[:, *corners_of(inner, spec)[0]]
    return first


def _box_in(image: Maps, spec: InputSpec) -> tuple[tuple[slice, slice] | None, Maps]:
    """The box of an image (C, H, W) that is not NaN, and what is cut into tiles.

    None, and the image itself, where no image has a box.
    """
    if not spec.normalise:
        return None, image
    box = box_of(np.isfinite(image[0]))
    inner, around = image[:, *box], [(0, 0)]
    for tile, side in zip((spec.height, spec.width), inner.shape[1:], strict=True):
        short = max(0, tile - side)
        around.append((short // 2, short - short // 2))
    return box, np.pad(inner, around)


def corners_of(image: Maps, spec: InputSpec) -> list[tuple[slice, slice]]:
    """The rows and columns of each tile of an image (C, H, W), line after line."""
    rows, columns = (
        starts(side, tile, spec) for side, tile in zip(image.shape[1:], spec.size, strict=True)
    )
    height, width = spec.size
    return [
        (slice(row, row + height), slice(column, column + width))
        for row in rows
        for column in columns
    ]
