"""Placement of an image in a network's input, and the values of its pixels there."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.documents.input_spec import InputSpec, Spacing
from evaluator.letterbox import Placement, letterbox

_LEAST = 1e-8  # nnU-Net's smallest deviation, for an image of one grey level


def place(height: int, width: int, spec: InputSpec, *, spacing: Spacing = None) -> Placement:
    """Where an image of `height` x `width` pixels lies on its canvas.

    `stretch` fills the canvas. `letterbox` keeps the aspect ratio, centred, zeros around it. Tiled
    and native images are scaled to the declared spacing alone, and are centred likewise: where what
    is left is odd, the greater part is below and to the right.

    Args:
        spacing: of the image.
    """
    canvas = spec.canvas(height, width, spacing)
    if spec.resize == "letterbox":
        return letterbox(height, width, canvas)
    if spec.resize == "stretch":
        return Placement(0, 0, *canvas)
    down, across = spec.scaled(height, width, spacing)
    return Placement((canvas[0] - down) // 2, (canvas[1] - across) // 2, down, across)


@cache
def values_of_pixels(
    depth: int, mean: float | tuple[float, ...], std: float | tuple[float, ...]
) -> NDArray[np.float32]:
    """What each pixel is as an input: (pixel / 255 - mean) / std, as (depth, 256) float32.

    Args:
        mean, std: one number, or one a channel.
    """
    values = np.repeat(np.arange(256, dtype=np.float32)[None], depth, axis=0)
    values /= 255
    values -= np.array(mean, np.float32).reshape(-1, 1)
    values /= np.array(std, np.float32).reshape(-1, 1)
    return values


def box_of(image: NDArray[Any]) -> tuple[slice, slice]:
    """The rows and columns that bound what is not 0 in an image (H, W); empty where all is."""
    rows, columns = np.flatnonzero(image.any(axis=1)), np.flatnonzero(image.any(axis=0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def z_scores(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What each pixel value is in an image (H, W), (pixel - mean) / std, as (1, 256) float32.

    Both are of the box of the pixels above 0. They come from whole numbers, so no bit varies.
    """
    inner, levels = image[box_of(image)], np.arange(256)
    if not inner.size:
        return np.zeros((1, 256), np.float32)
    counts = np.bincount(inner.ravel(), minlength=256)
    total, squares = int(counts @ levels), int(counts @ levels**2)
    deviation = math.sqrt(inner.size * squares - total**2) / inner.size
    scores = (levels - total / inner.size) / max(deviation, _LEAST)
    return scores.astype(np.float32)[None]


def values_for(image: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    """What each pixel value is as an input for this image (H, W), as (depth, 256) float32."""
    if not spec.normalise:
        return values_of_pixels(spec.depth, spec.mean, spec.std)
    return np.repeat(z_scores(image), spec.depth, axis=0)
