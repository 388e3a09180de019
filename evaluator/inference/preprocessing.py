"""From an image to a network's input, and from its output back to the image's own grid.

Both ways use Pillow's bilinear resampling with half-pixel centres, so a round trip does not shift.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluator.documents.submission import InputSpec, OutputSpec
from evaluator.inference.outputs import foreground


@dataclass(frozen=True)
class Placement:
    """Where the resized image lies on the network's canvas, in pixels."""

    top: int
    left: int
    height: int
    width: int


def place(height: int, width: int, spec: InputSpec) -> Placement:
    """Where an image of `height` x `width` pixels lies on the canvas that `spec` declares.

    `stretch` fills the canvas. `letterbox` keeps the aspect ratio, centred, zeros around it.
    """
    if spec.resize == "stretch":
        return Placement(0, 0, spec.height, spec.width)
    scale = min(spec.height / height, spec.width / width)
    new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    return Placement(
        (spec.height - new_height) // 2, (spec.width - new_width) // 2, new_height, new_width
    )


def to_input(image: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    """An image (H, W) uint8 as the network's input (C, height, width) float32.

    Values are (pixel / 255 - mean) / std, channel by channel, padding included (its pixels are 0).
    """
    spot = place(image.shape[0], image.shape[1], spec)
    canvas = np.zeros((spec.height, spec.width), np.float32)
    resized = Image.fromarray(image).resize((spot.width, spot.height), Image.Resampling.BILINEAR)
    inner = canvas[spot.top : spot.top + spot.height, spot.left : spot.left + spot.width]
    inner[:] = np.asarray(resized)
    canvas /= 255.0
    result = np.repeat(canvas[None], spec.depth, axis=0)
    result -= _column(spec.mean)
    result /= _column(spec.std)
    return result


def _column(values: float | tuple[float, ...]) -> NDArray[np.float32]:
    return np.array(values, np.float32).reshape(-1, 1, 1)


def to_mask(
    output: NDArray[np.float32], native: tuple[int, int], inputs: InputSpec, *, outputs: OutputSpec
) -> NDArray[np.bool_]:
    """A network's maps (K, height, width) of one image as a mask (H, W) on the image's own grid.

    The maps are cut to the placed image; their probabilities are resampled to `native` and compared
    with the threshold, strictly above.
    """
    spot = place(*native, inputs)
    inner = output[:, spot.top : spot.top + spot.height, spot.left : spot.left + spot.width]
    map_image = Image.fromarray(np.ascontiguousarray(foreground(inner, outputs.kind)))
    resized = map_image.resize((native[1], native[0]), Image.Resampling.BILINEAR)
    mask: NDArray[np.bool_] = np.asarray(resized) > outputs.threshold
    return mask
