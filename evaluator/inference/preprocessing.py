"""From an image to a network's input, and from its output back to the image's own grid.

Both ways are bilinear with half-pixel centres, so a round trip does not shift.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluator.documents.input_spec import InputSpec, Spacing
from evaluator.documents.submission import OutputKind, OutputSpec
from evaluator.inference.outputs import foreground
from evaluator.inference.placement import box_of, place, values_for
from evaluator.inference.resampling import fill_input, pack_above, resample_levels


def to_input(
    image: NDArray[np.uint8],
    spec: InputSpec,
    out: NDArray[np.float32] | None = None,
    *,
    spacing: Spacing = None,
) -> NDArray[np.float32]:
    """An image (H, W) uint8 as the network's input (C, height, width) float32.

    Where it is tiled, that is the whole image, black around it where a tile is larger; where it is
    native, the whole image, black around it up to a multiple.

    Values are (pixel / 255 - mean) / std, channel by channel, padding included (its pixels are 0).
    With `normalise: zscore`, mean and std are those of the box of its pixels above 0, and what is
    around that box is NaN: `map_tiles` leaves it out, as nnU-Net does.

    Args:
        out: where it goes; None: to memory of its own.
        spacing: of the image.
    """
    height, width = image.shape
    if out is None:
        out = np.empty((spec.depth, *spec.canvas(height, width, spacing)), np.float32)
    spot = place(height, width, spec, spacing=spacing)
    table = values_for(image, spec)
    corner = (spot.top, spot.left, spot.height, spot.width)
    antialiased = spec.resample != "plain"
    fill_input(np.ascontiguousarray(image), table, out, corner, antialiased)
    if spec.normalise:
        around = np.ones(out.shape[1:], bool)
        around[spot.top : spot.top + height, spot.left : spot.left + width][box_of(image)] = False
        out[:, around] = np.nan
    return out


def to_packed_mask(
    output: NDArray[np.float32],
    native: tuple[int, int],
    inputs: InputSpec,
    *,
    outputs: OutputSpec,
    spacing: Spacing = None,
) -> bytes:
    """The maps (K, height, width) of one image's input as the packed mask of `native` (H, W).

    The maps are cut to the placed image; their probabilities are resampled to `native`, antialiased
    whatever `resample` of the input is, and compared with the threshold, strictly above.

    Args:
        spacing: of the image.
    """
    probability = _placed(output, native, inputs, kind=outputs.kind, spacing=spacing)
    return pack_above(probability, native[0], native[1], outputs.threshold).tobytes()


def to_probabilities(
    output: NDArray[np.float32],
    native: tuple[int, int],
    inputs: InputSpec,
    *,
    outputs: OutputSpec,
    spacing: Spacing = None,
) -> bytes:
    """The probabilities that `to_packed_mask` cuts, line after line, as `level` rounds them."""
    probability = _placed(output, native, inputs, kind=outputs.kind, spacing=spacing)
    return resample_levels(probability, *native).tobytes()


def _placed(
    output: NDArray[np.float32],
    native: tuple[int, int],
    inputs: InputSpec,
    *,
    kind: OutputKind,
    spacing: Spacing,
) -> NDArray[np.float32]:
    """The probabilities (height, width) of the placed image alone."""
    spot = place(*native, inputs, spacing=spacing)
    inner = output[:, spot.top : spot.top + spot.height, spot.left : spot.left + spot.width]
    return np.ascontiguousarray(foreground(inner, kind), np.float32)
