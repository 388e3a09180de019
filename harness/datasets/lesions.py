"""Lesion maps: which pixels of a mask file are which lesion, and where they lie in the image.

A mask that can be read in two ways is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import scipy  # whose parts are imported when they are first used
from numpy.typing import NDArray

from evaluator.errors import Code
from harness.datasets.base import RefusedError
from harness.datasets.pixels import LABEL_VALUES, Decoded, Geometry, over_black, size_text

GREY_SHARE = 0.10  # of a mask's pixels well between black and white: above, it is an image
# Of an image's border: above, a mask is inverted. Of 1,187 real masks none marks more than 3 %.
BORDER_SHARE = 0.5
PROPORTION = 0.01  # that a mask's proportions may differ from the image's by rounding
SPECK = 10  # pixels: smaller islands are slips of the pen; the smallest real lesion has hundreds
LOST_SHARE = 0.1  # of a lesion, in its area: above, it lies outside the image
TWO_VALUES = "Save lesions as 255 and all else as 0, or leave such cases out with --skip-refused."

Mask = NDArray[np.bool_]
Numbers = NDArray[np.uint8]  # of lesions; 0 where none is
Repairs = tuple[str, ...]


def lesion_map(path: Path, decoded: Decoded, *, coloured: bool = False) -> tuple[Numbers, Repairs]:
    """The mask as (H, W): 0 where nothing is marked, else the number of a value, from 1.

    A few flat values apart from each other are several lesions. Of other values, what is more than
    half as bright as the brightest is lesion, in any channel: the rest are soft borders.

    Args:
        coloured: whether the release says what its colours mean; they number no lesions then.

    Raises:
        RefusedError: where the file contains an image rather than a mask, or where two values may
            mean two things.
    """
    pixels, repairs = over_black(decoded)
    if decoded.lost_labels:
        reason = "has labels that look alike in 8 bits; save them as grey values of 0 to 255"
        raise RefusedError(Code.DATA_REFUSED, path, reason)
    bright = np.maximum.reduce(np.moveaxis(pixels, 2, 0)) if pixels.ndim == 3 else pixels
    labels = bright.astype(np.int32) if coloured or pixels.ndim < 3 else colours(pixels)
    codes = np.unique(labels[bright > 0])
    top = int(bright.max())
    side = 2 if len(codes) == 2 else 3  # pixels: soft borders are of more than one value
    few = codes if len(codes) <= LABEL_VALUES else codes[:0]
    flat = [int(code) for code in few if _is_flat(labels == code, side)]
    if len(codes) <= 1 or len(flat) == len(codes) or (top < LABEL_VALUES and not flat):
        _require_apart(path, [labels == code for code in codes])
        values = sorted(int(bright[labels == code][0]) for code in codes)
        if not set(values) <= {1, 255}:
            repairs += (f"values {', '.join(map(str, values))} taken as lesion",)
        numbers = 1 + np.searchsorted(codes, labels) if len(codes) > 1 and not coloured else 1
        return np.where(bright > 0, numbers, 0).astype(np.uint8), repairs
    if ((bright > top // 16) & (bright < top - top // 16)).mean() > GREY_SHARE:
        raise RefusedError(Code.DATA_REFUSED, path, "contains an image rather than a mask")
    lesion = bright > top // 2
    islands, count = scipy.ndimage.label(bright > top // 16, np.ones((3, 3)))
    lost = np.bincount(islands.ravel())[1:][~np.isin(np.arange(1, count + 1), islands[lesion])]
    levels = [int(bright[labels == code][0]) for code in flat]
    odd = bool(levels) and (min(levels) <= top // 2 or max(levels) < top)
    if odd or lost.max(initial=0) >= SPECK:
        reason = f"marks areas of different brightness, {top} at most: which of them are lesion?"
        raise RefusedError(Code.DATA_REFUSED, path, reason, remedy=TWO_VALUES)
    soft = int(((bright > 0) & (bright < top)).sum())
    return lesion.astype(np.uint8), (*repairs, f"{soft} grey pixels of soft borders cut at half")


def colours(pixels: NDArray[np.uint8]) -> NDArray[np.int32]:
    """(H, W, 3) colours as one number a pixel."""
    return pixels[..., :3].astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)


def _is_flat(area: Mask, side: int) -> bool:
    """Whether it is wider than a border: `side` x `side` pixels of it lie together."""
    return bool(scipy.ndimage.minimum_filter(area, size=side, mode="constant").any())


def _require_apart(path: Path, areas: Sequence[Mask]) -> None:
    """Refuse two values that touch: one may be a border that is neither, or another class."""
    grown = [scipy.ndimage.maximum_filter(area, size=3) for area in areas] if len(areas) > 1 else []
    for index, area in enumerate(grown):
        if any((area & other).any() for other in areas[index + 1 :]):
            reason = "marks areas of two values that touch: one may be a border, or another class"
            raise RefusedError(Code.DATA_REFUSED, path, reason, remedy=TWO_VALUES)


def require_upright(path: Path, lesion: Mask) -> None:
    """Refuse a mask that marks what is around the lesion."""
    border = np.concatenate((lesion[0], lesion[-1], lesion[1:-1, 0], lesion[1:-1, -1]))
    if lesion[np.ix_((0, -1), (0, -1))].all() or border.mean() > BORDER_SHARE:
        reason = f"marks {lesion.mean():.0%} of the image and its border, as an inverted mask does"
        raise RefusedError(Code.DATA_REFUSED, path, reason)


def placed(
    path: Path,
    lesion: Numbers,
    *,
    image: Decoded,
    mask: Decoded,
    stated_size: tuple[int, int] | None,
) -> tuple[Numbers, Repairs]:
    """The lesion at the image's shape, where its place there is certain.

    It is where both files state a geometry, where the mask has the image's proportions, where it
    marks nothing, and where it has the size that the metadata give for the image: then it was drawn
    on the image at that size.
    """
    shape = image.pixels.shape[:2]
    if image.geometry and mask.geometry and not image.geometry.is_close(mask.geometry):
        return _resampled(path, lesion, image=image, mask=mask)
    if mask.geometry and not image.geometry:
        _require_one_place(path, lesion, image=image, mask=mask)
    if lesion.shape == shape:
        return lesion, ()
    alike = abs(lesion.shape[1] * shape[0] / (lesion.shape[0] * shape[1]) - 1) <= PROPORTION
    unsure = mask.geometry is not None or (not alike and lesion.shape != stated_size)
    if lesion.any() and unsure:
        own, whole = size_text(lesion.shape), size_text(shape)
        reason = f"is {own}, and its place in its image, {whole}, is unknown"
        raise RefusedError(Code.DATA_REFUSED, path, reason)
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new)  # the pixel under the centre, without rounding
        for new, old in zip(shape, lesion.shape, strict=True)
    )
    note = f"{size_text(lesion.shape)} scaled to {size_text(shape)}"
    return lesion[np.ix_(rows, columns)], (note,)


def _require_one_place(path: Path, lesion: Numbers, *, image: Decoded, mask: Decoded) -> None:
    """Refuse a mask that may be meant as its geometry says, where its image states none."""
    assert mask.geometry
    plain = Geometry(mask.geometry.spacing, (0.0, 0.0), (1.0, 0.0, 0.0, 1.0))
    try:
        meant, _ = _resampled(path, lesion, image=replace(image, geometry=plain), mask=mask)
    except RefusedError:
        return  # it lies elsewhere, so that its pixels are all that can be meant
    if not np.array_equal(meant, lesion):
        reason = "is mirrored or moved by its geometry, and its image states none"
        raise RefusedError(Code.DATA_REFUSED, path, reason)


def _resampled(
    path: Path, lesion: Numbers, *, image: Decoded, mask: Decoded
) -> tuple[Numbers, Repairs]:
    """The lesion on the image's grid: each pixel has the nearest one of the mask, none outside it.

    Raises:
        RefusedError: where the planes are apart, or where part of the lesion is outside the image.
    """
    assert image.geometry and mask.geometry
    (axes, origin), (mask_axes, mask_origin) = image.geometry.to_space(), mask.geometry.to_space()
    shape = image.pixels.shape[:2]
    down, across = np.indices(shape).reshape(2, -1)
    place = axes @ np.stack((across, down)) + (origin - mask_origin)[:, None]
    found = np.linalg.pinv(mask_axes) @ place
    if np.abs(mask_axes @ found - place).max() > np.linalg.norm(mask_axes, axis=0).max() / 2:
        reason = "lies in another plane than its image"
        raise RefusedError(Code.DATA_REFUSED, path, reason)
    column, row = np.rint(found).astype(np.int64)
    inside = (row >= 0) & (row < lesion.shape[0]) & (column >= 0) & (column < lesion.shape[1])
    fitted = np.zeros(row.shape, np.uint8)
    fitted[inside] = lesion[row[inside], column[inside]]
    pixel, mask_pixel = (np.prod(np.linalg.norm(one, axis=0)) for one in (axes, mask_axes))
    marked, wanted = np.count_nonzero(fitted), np.count_nonzero(lesion)
    if marked * pixel < (1 - LOST_SHARE) * wanted * mask_pixel:
        raise RefusedError(Code.DATA_REFUSED, path, "marks a lesion partly outside its image")
    return fitted.reshape(shape), ("placed by its direction, origin and spacing",)


def numbered(areas: Sequence[Mask], union: Mask) -> Numbers:
    """Lesions by number, in the order of `areas`; a pixel of several belongs to the smallest.

    So a lesion drawn inside another is still one, and no pixel is outside `union`.

    Args:
        areas: of one lesion each, (H, W).
        union: what is left of them all.
    """
    numbers = np.zeros(union.shape, np.int64)
    for place in sorted(range(len(areas)), key=lambda place: -np.count_nonzero(areas[place])):
        numbers[areas[place] & union] = place + 1
    left = np.unique(numbers[numbers > 0])
    return np.where(numbers > 0, 1 + np.searchsorted(left, numbers), 0)
