"""From an image to a network's input, and from its output back to the image's own grid.

Both ways are bilinear with half-pixel centres, so a round trip does not shift.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from evaluator.consistency import draw
from evaluator.documents.base import Digest
from evaluator.documents.input_spec import InputSpec, Size, Spacing
from evaluator.documents.sealed import SealedCase
from evaluator.documents.submission import OutputSpec
from evaluator.inference.outputs import foreground
from evaluator.inference.placement import box_of, place, values_for, values_of_pixels
from evaluator.inference.resampling import fill_inputs, pack_above, resample_levels
from evaluator.letterbox import Placement
from evaluator.predictions import packed_bytes

# Of an image among other pixels: the place of its first pixel, height and width, and the steps to
# the pixel below and to the next one to the right.
Window = tuple[int, int, int, int, int]


def window_of(case: SealedCase, first: int, seed: Digest | None) -> Window:
    """Where the image of a case is whose first pixel is at `first`: all of it, or transformed."""
    if seed is None:
        return first, case.height, case.width, case.width, 1
    cut = draw(seed, case.case_id, (case.height, case.width))
    first += cut.top * case.width + cut.left
    if cut.mirrored:
        return first + cut.width - 1, cut.height, cut.width, case.width, -1
    return first, cut.height, cut.width, case.width, 1


def view_of(pixels: NDArray[np.uint8], window: Window) -> NDArray[np.uint8]:
    """The image (H, W) in a window of `pixels`."""
    first, height, width, *steps = window
    return np.ndarray((height, width), np.uint8, pixels, first, steps)


def to_inputs(
    pixels: NDArray[np.uint8],
    windows: Sequence[Window],
    spots: Sequence[Placement],
    *,
    spec: InputSpec,
) -> NDArray[np.float32]:
    """Images as inputs of one size (N, C, height, width) float32, each as `to_input` makes it.

    Args:
        pixels: of all images, flat.
        windows: where each is in them.
        spots: where each comes to lie.
        spec: of inputs that are resized.
    """
    out = np.empty((len(windows), spec.depth, *spec.size), np.float32)
    table, antialiased = values_of_pixels(spec.depth, spec.mean, spec.std), spec.resample != "plain"
    fill_inputs(pixels, np.array(windows), table, out, _rows(spots), antialiased)
    return out


def to_input(
    image: NDArray[np.uint8], spec: InputSpec, *, spacing: Spacing = None
) -> NDArray[np.float32]:
    """An image (H, W) uint8 as the network's input (C, height, width) float32.

    Where it is tiled, that is the whole image, black around it where a tile is larger; where it is
    native, the whole image, black around it up to a multiple.

    Values are (pixel / 255 - mean) / std, channel by channel, padding included (its pixels are 0).
    With `normalise: zscore`, mean and std are those of the box of its pixels above 0, and what is
    around that box is NaN: `map_tiles` leaves it out, as nnU-Net does.

    Args:
        spacing: of the image.
    """
    height, width = image.shape
    out = np.empty((spec.depth, *spec.canvas(height, width, spacing)), np.float32)
    spot = place(height, width, spec, spacing=spacing)
    window = np.array([(0, height, width, width, 1)])
    table, antialiased = values_for(image, spec), spec.resample != "plain"
    fill_inputs(image.ravel(), window, table, out[None], _rows([spot]), antialiased)
    if spec.normalise:
        around = np.ones(out.shape[1:], bool)
        around[spot.top : spot.top + height, spot.left : spot.left + width][box_of(image)] = False
        out[:, around] = np.nan
    return out


def to_packed_masks(
    maps: NDArray[np.float32],
    sizes: Sequence[Size],
    spots: Sequence[Placement],
    *,
    spec: OutputSpec,
) -> list[bytes]:
    """The maps (N, K, height, width) of images as their packed masks.

    The maps are cut to the placed images; their probabilities are resampled to the images' own
    grids, antialiased whatever `resample` of the input is, and compared with the threshold,
    strictly above.

    Args:
        sizes: (H, W) of each image.
        spots: where each lies on its map.
    """
    probabilities = np.ascontiguousarray(foreground(maps, spec.kind), np.float32)
    lengths = [packed_bytes(*size) for size in sizes]
    packed = np.zeros(sum(lengths), np.uint8)
    pack_above(probabilities, _rows(spots), np.array(sizes), spec.threshold, packed)
    data, ends = packed.tobytes(), accumulate(lengths)
    return [data[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def to_probabilities(
    maps: NDArray[np.float32], size: Size, spot: Placement, *, spec: OutputSpec
) -> bytes:
    """The probabilities that `to_packed_masks` cuts, line after line, as `level` rounds them.

    Args:
        maps: (K, height, width) of one image.
    """
    inner = maps[:, spot.top : spot.top + spot.height, spot.left : spot.left + spot.width]
    probabilities = np.ascontiguousarray(foreground(inner, spec.kind), np.float32)
    return resample_levels(probabilities, *size).tobytes()


def _rows(spots: Sequence[Placement]) -> NDArray[np.int64]:
    return np.array([(spot.top, spot.left, spot.height, spot.width) for spot in spots])
