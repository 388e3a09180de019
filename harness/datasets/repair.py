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

from evaluator.documents.base import Label
from evaluator.errors import Code
from harness.datasets.base import RawCase, RefusedError
from harness.datasets.lesions import (
    SPECK,
    Mask,
    Numbers,
    colours,
    lesion_map,
    numbered,
    placed,
    require_upright,
)
from harness.datasets.pixels import Decoded, over_black, size_text
from harness.store import MAX_LESIONS, Sample, connected

BOX_TOLERANCE = 2  # pixels: releases count a box's sides from 0 or from 1
CONTRAST = 16  # grey values from darkest to brightest: an image with fewer shows nothing
HIDDEN_SHARE = 0.5  # of an image: above, its alpha channel hides it
SIDES_MM = (1.0, 400.0)  # of an image of a breast; the widest scanners show 200 mm

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
    pixels, image_repairs = visible_grey(case.image, image)
    areas, mask_repairs = _areas(case, image, masks)
    whole = np.logical_or.reduce([np.zeros(pixels.shape, np.bool_), *areas])
    lesion, speck_repairs = without_specks(whole)
    _check_class(case, lesion)
    lesions, lesion_repairs = _lesions(case, areas, lesion)
    return Sample(
        case_id=case.case_id,
        label=case.label,
        patient=case.patient,
        image=pixels,
        mask=lesion,
        lesions=lesions,
        source_image=case.image.relative_to(raw).as_posix(),
        source_mask="; ".join(mask.relative_to(raw).as_posix() for mask in case.masks),
        spacing=plausible_spacing(case.image, image, case.spacing),
        device=case.device,
        birads=case.birads,
        repairs=(
            *case.repairs,
            *image_repairs,
            *mask_repairs,
            *speck_repairs,
            *lesion_repairs,
            *_misstated(case, image, lesion),
        ),
    )


def plausible_spacing(
    path: Path, image: Decoded, stated: tuple[float, float] | None = None
) -> tuple[float, float] | None:
    """The spacing (row, column) in millimetres; None where none is stated.

    Args:
        stated: before what the file says.

    Raises:
        RefusedError: where the image would be smaller or larger than one of a breast can be.
    """
    spacing = stated or image.spacing
    if spacing is None:
        return None
    height, width = (s * n for s, n in zip(spacing, image.pixels.shape, strict=False))
    if not SIDES_MM[0] <= min(height, width) <= max(height, width) <= SIDES_MM[1]:
        reason = (
            f"would be {width:g} x {height:g} mm with its spacing of {list(spacing)} mm a pixel"
        )
        raise RefusedError(Code.DATA_REFUSED, path, reason)
    return spacing


def grey_image(decoded: Decoded) -> tuple[Grey, Repairs]:
    """The image as (H, W) luma (ITU-R BT.601), and what was lost on the way.

    Three equal channels are grey already: nothing is lost and nothing is said.
    """
    pixels, repairs = over_black(decoded)
    if pixels.ndim == 3:
        red, green, blue = np.moveaxis(pixels, 2, 0)
        coloured = int(((red != green) | (red != blue)).sum())
        if coloured:
            repairs += (f"{coloured} coloured pixels turned grey",)
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))
    return pixels, repairs


def visible_grey(path: Path, decoded: Decoded) -> tuple[Grey, Repairs]:
    """The image as `grey_image` gives it; raises `RefusedError` where nothing is left to see."""
    grey, repairs = grey_image(decoded)
    hidden = float((decoded.pixels[..., 3:] < 128).mean()) if decoded.has_alpha else 0.0
    if hidden > HIDDEN_SHARE:
        reason = f"is hidden by its alpha channel in {hidden:.0%} of its pixels"
        raise RefusedError(Code.DATA_REFUSED, path, reason)
    if int(grey.max()) - int(grey.min()) < CONTRAST:
        reason = f"shows nothing: its grey values are {grey.min()} to {grey.max()} of 255"
        raise RefusedError(Code.DATA_REFUSED, path, reason)
    return grey, repairs


def without_specks(lesion: Mask) -> tuple[Mask, Repairs]:
    """The lesion map without islands of fewer than `SPECK` pixels (8 neighbours joined)."""
    islands = connected(lesion)
    sizes = np.bincount(islands.ravel())
    small = np.flatnonzero(sizes[1:] < SPECK) + 1
    if not small.size:
        return lesion, ()
    lost = int(sizes[small].sum())
    return lesion & ~np.isin(islands, small), (f"specks removed: {small.size} ({lost} pixels)",)


def _areas(case: RawCase, image: Decoded, masks: tuple[Decoded, ...]) -> tuple[list[Mask], Repairs]:
    """What each value of each mask file marks, in the image's shape."""
    if not masks and not (case.label == "normal" and case.mask_optional):
        raise RefusedError(Code.MASK_MISSING, case.image, "has no mask")
    areas, repairs = list[Mask](), list[str]()
    for path, decoded in zip(case.masks, masks, strict=True):
        if decoded.orientation != image.orientation:
            reason = f"is turned by EXIF otherwise than its image, {case.image.name}"
            raise RefusedError(Code.DATA_REFUSED, path, reason)
        lesion, notes = lesion_map(path, decoded, coloured=bool(case.mask_colours))
        size = case.stated_size
        fitted, size_notes = placed(path, lesion, image=image, mask=decoded, stated_size=size)
        require_upright(path, fitted > 0)
        areas += [fitted == number for number in np.unique(lesion[lesion > 0])]
        notes = (*notes, *size_notes, *_miscoloured(case, decoded, lesion > 0))
        repairs += [f"mask: {note}" for note in notes]
    return areas, tuple(repairs)


def _lesions(case: RawCase, areas: list[Mask], lesion: Mask) -> tuple[Numbers, Repairs]:
    """The lesions by number: as the release tells them apart, else as they are connected."""
    apart = case.one_lesion_a_mask or len(areas) > 1
    numbers = numbered(areas, lesion) if apart else connected(lesion)
    count = int(numbers.max(initial=0))
    if count > MAX_LESIONS:
        reason = f"marks {count} lesions, more than {MAX_LESIONS}"
        raise RefusedError(Code.DATA_REFUSED, case.masks[0], reason)
    lost = len(areas) - count if apart else 0
    notes = (f"lesions hidden by others or too small: {lost} of {len(areas)}",) if lost else ()
    return numbers.astype(np.uint8), notes


def _miscoloured(case: RawCase, decoded: Decoded, lesion: Mask) -> Repairs:
    """Where a mask's colours mean another class than the metadata; the metadata are taken."""
    if not case.mask_colours or decoded.pixels.ndim < 3 or not lesion.any():
        return ()
    labels = list(case.mask_colours)
    palette = np.array([case.mask_colours[label] for label in labels], dtype=np.int32)
    codes = np.unique(colours(decoded.pixels)[lesion])
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


def _misstated(case: RawCase, image: Decoded, lesion: Mask) -> Repairs:
    """Where the metadata disagree with the pixels; the pixels are right."""
    repairs = []
    if case.stated_size is not None and case.stated_size != lesion.shape:
        stated, found = size_text(case.stated_size), size_text(lesion.shape)
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
