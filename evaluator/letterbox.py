"""Placement of an image, its aspect ratio kept, on a canvas of another size."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Placement:
    """Where the resized image lies on the canvas, in pixels."""

    top: int
    left: int
    height: int
    width: int


def letterbox(height: int, width: int, canvas: tuple[int, int]) -> Placement:
    """Where an image of `height` x `width` pixels lies on `canvas` (height, width), centred.

    As large as the canvas allows; sides are rounded as Python rounds (halves to even), at least 1.
    """
    scale = min(canvas[0] / height, canvas[1] / width)
    new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    return Placement(
        (canvas[0] - new_height) // 2, (canvas[1] - new_width) // 2, new_height, new_width
    )
