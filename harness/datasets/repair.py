"""Repairs and refusals of a case: pure decisions on decoded pixels.

Each repair is a phrase in the case's row of the store; each refusal names the file.
Nothing here guesses what a radiologist meant: what contradicts the class, or leaves a lesion's
place open, is refused.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import label as components

from evaluator.documents.base import Label
from evaluator.errors import Code
from harness.datasets.base import RawCase, RefusedError
from harness.datasets.pixels import Decoded
from harness.store import Sample

BOX_TOLERANCE = 2  # pixels: releases count a box's sides from 0 or from 1
SPECK = 10  # pixels: smaller islands are slips of the pen; the smallest real lesion has hundreds
LABEL_VALUES = 16  # a mask whose brightest value is below has numbers of lesions, not grey
GREY_SHARE = 0.10  # of a mask's pixels well between black and white: above, it is an image
FULL_SHARE = 0.95  # of an image: above, a mask is inverted or a dummy
PROPORTION = 0.01  # that a mask's proportions may differ from the image's by rounding

Mask = NDArray[np.bool_]
Grey = NDArray[np.uint8]
Repairs = tuple[str, ...]


def judge(case: RawCase, raw: Path, image: Decoded, *, masks: tuple[Decoded, ...]) -> Sample:
    """Make a sample of a decoded case, repairing what may be repaired.

    Args:
        raw: the folder that source names are relative to.
        masks: one for each of `case.masks`.

    Raises:
        RefusedError: where the case contradicts itself.
    """
    pixels, image_repairs = grey_image(image)
    lesion, mask_repairs = _union(case, pixels.shape, masks)
    lesion, speck_repairs = without_specks(lesion)
    _check_class(case, lesion)
    return Sample(
        case_id=case.case_id,
        label=case.label,
        patient=case.patient,
        image=pixels,
        mask=lesion,
        source_image=case.image.relative_to(raw).as_posix(),
        source_mask="; ".join(mask.relative_to(raw).as_posix() for mask in case.masks),
        spacing=case.spacing or image.spacing,
        device=case.device,
        birads=case.birads,
        repairs=(
            *case.repairs,
            *image_repairs,
            *mask_repairs,
            *speck_repairs,
            *_misstated(case, image, lesion),
        ),
    )


def grey_image(decoded: Decoded) -> tuple[Grey, Repairs]:
    """The image as (H, W) luma (ITU-R BT.601), and what was lost on the way.

    Three equal channels are grey already: nothing is lost and nothing is said.
    """
    pixels, repairs = _without_alpha(decoded)
    if pixels.ndim == 3:
        red, green, blue = np.moveaxis(pixels, 2, 0)
        coloured = int(((red != green) | (red != blue)).sum())
        if coloured:
            repairs += (f"{coloured} coloured pixels turned grey",)
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))
    return pixels, repairs


def _without_alpha(decoded: Decoded) -> tuple[Grey, Repairs]:
    """Colour over black where alpha lets it through."""
    if decoded.pixels.ndim < 3 or decoded.pixels.shape[2] < 4:
        return decoded.pixels, decoded.notes
    colour, alpha = decoded.pixels[..., :3], decoded.pixels[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(colour), (*decoded.notes, "opaque alpha channel dropped")
    blended = np.rint(colour * (alpha / 255.0)).astype(np.uint8)
    return blended, (*decoded.notes, "transparent pixels laid over black")


def lesion_map(path: Path, decoded: Decoded) -> tuple[Mask, Repairs]:
    """The mask as (H, W): what is more than half as bright as its brightest, in any channel.

    Raises:
        RefusedError: where the file contains an image rather than a mask.
    """
    pixels, repairs = _without_alpha(decoded)
    bright = np.maximum.reduce(np.moveaxis(pixels, 2, 0)) if pixels.ndim == 3 else pixels
    values = np.flatnonzero(np.bincount(bright.ravel(), minlength=256)[1:]) + 1
    top = int(values.max(initial=0))
    if len(values) <= 1 or top < LABEL_VALUES:
        if not set(values.tolist()) <= {1, 255}:
            repairs += (f"values {', '.join(map(str, values))} taken as lesion",)
        return bright > 0, repairs
    if ((bright > top // 16) & (bright < top - top // 16)).mean() > GREY_SHARE:
        raise RefusedError(Code.DATA_REFUSED, path, "contains an image rather than a mask")
    soft = int(((bright > 0) & (bright < top)).sum())
    return bright > top // 2, (*repairs, f"{soft} grey pixels of soft borders cut at half")


def without_specks(lesion: Mask) -> tuple[Mask, Repairs]:
    """The lesion map without islands of fewer than `SPECK` pixels (8 neighbours joined)."""
    islands, count = components(lesion, np.ones((3, 3)))
    sizes = np.bincount(islands.ravel(), minlength=count + 1)
    small = np.flatnonzero(sizes[1:] < SPECK) + 1
    if not small.size:
        return lesion, ()
    lost = int(sizes[small].sum())
    return lesion & ~np.isin(islands, small), (f"specks removed: {small.size} ({lost} pixels)",)


def _union(
    case: RawCase, shape: tuple[int, ...], masks: tuple[Decoded, ...]
) -> tuple[Mask, Repairs]:
    """All lesions of the case in one map of the image's shape."""
    if not masks and not (case.label == "normal" and case.mask_optional):
        raise RefusedError(Code.MASK_MISSING, case.image, "has no mask")
    union, repairs = np.zeros(shape, dtype=np.bool_), list[str]()
    for path, decoded in zip(case.masks, masks, strict=True):
        lesion, notes = lesion_map(path, decoded)
        fitted, size_notes = _fit(case, path, lesion, shape=shape)
        union |= fitted
        notes = (*notes, *size_notes, *_miscoloured(case, decoded, lesion))
        repairs += [f"mask: {note}" for note in notes]
    return union, tuple(repairs)


def _fit(
    case: RawCase, path: Path, lesion: Mask, *, shape: tuple[int, ...]
) -> tuple[Mask, Repairs]:
    """The lesion at the image's shape, where its place there is certain.

    It is where the mask has the image's proportions, where it marks nothing, and where it has the
    size that the metadata give for the image: then it was drawn on the image at that size.
    """
    if lesion.shape == shape:
        return lesion, ()
    alike = abs(lesion.shape[1] * shape[0] / (lesion.shape[0] * shape[1]) - 1) <= PROPORTION
    if lesion.any() and not alike and lesion.shape != case.stated_size:
        reason = f"is {_size(lesion.shape)}, of other proportions than its image, {_size(shape)}"
        raise RefusedError(Code.DATA_REFUSED, path, reason)
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new)  # the pixel under the centre, without rounding
        for new, old in zip(shape, lesion.shape, strict=True)
    )
    return lesion[np.ix_(rows, columns)], (f"{_size(lesion.shape)} scaled to {_size(shape)}",)


def _miscoloured(case: RawCase, decoded: Decoded, lesion: Mask) -> Repairs:
    """Where a mask's colours mean another class than the metadata; the metadata are taken."""
    if not case.mask_colours or decoded.pixels.ndim < 3 or not lesion.any():
        return ()
    labels = list(case.mask_colours)
    palette = np.array([case.mask_colours[label] for label in labels], dtype=np.int32)
    codes = np.unique(decoded.pixels[lesion][:, :3].astype(np.int32) @ (1 << 16, 1 << 8, 1))
    lit = np.stack((codes >> 16, codes >> 8 & 255, codes & 255), axis=1)
    nearest = np.abs(lit[:, None] - palette[None]).sum(axis=2).argmin(axis=1)
    meant: list[Label] = sorted({labels[index] for index in nearest})
    if meant == [case.label]:
        return ()
    return (f"coloured as {' and '.join(meant)}, class {case.label} taken from the metadata",)


def _check_class(case: RawCase, lesion: Mask) -> None:
    """Refuse a lesion map that contradicts the class."""
    file = case.masks[0] if case.masks else case.image
    if case.label == "normal" and lesion.any():
        reason = f"marks {int(lesion.sum())} pixels in a case of class normal"
        raise RefusedError(Code.DATA_REFUSED, file, reason)
    if case.label != "normal" and not lesion.any():
        raise RefusedError(
            Code.DATA_REFUSED, file, f"marks no lesion in a case of class {case.label}"
        )
    if lesion.mean() > FULL_SHARE:
        raise RefusedError(
            Code.DATA_REFUSED, file, "marks all of the image, as an inverted mask does"
        )


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"


def _misstated(case: RawCase, image: Decoded, lesion: Mask) -> Repairs:
    """Where the metadata disagree with the pixels; the pixels are right."""
    repairs = []
    if case.stated_size is not None and case.stated_size != lesion.shape:
        stated, found = _size(case.stated_size), _size(lesion.shape)
        repairs.append(f"metadata say {stated} pixels, the file has {found}")
    if case.stated_box is not None and lesion.any():
        rows, columns = np.nonzero(lesion.any(axis=1))[0], np.nonzero(lesion.any(axis=0))[0]
        x, y = int(columns[0]), int(rows[0])
        box = (x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1)
        off = max(abs(one - two) for one, two in zip(box, case.stated_box, strict=True))
        if off > BOX_TOLERANCE:
            repairs.append(f"metadata say box {list(case.stated_box)}, the mask has {list(box)}")
    if case.spacing and image.spacing and not np.allclose(case.spacing, image.spacing, rtol=0.01):
        repairs.append(f"the file says spacing {list(image.spacing)}, the table's is taken")
    return tuple(repairs)
