"""Placement of an image in a network's input, and the values of its pixels there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluator.documents.submission import InputSpec, Spacing
from evaluator.letterbox import Placement, letterbox


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
