"""What may be mended in a case, and what must be refused? Pure decisions on decoded pixels.

Each mend is a sentence that stands in the case's row of the store; each refusal names the file.
Nothing here guesses what a radiologist meant: what changes a lesion's place or class is refused.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.datasets.base import RawCase, RefusedError
from harness.datasets.decode import Decoded
from harness.store import Sample

BOX_TOLERANCE = 2  # pixels: releases count the box's sides from 0 or from 1
GREY_SHARE = 0.10  # of a mask's pixels between black and white: above, it is a picture

Mask = NDArray[np.bool_]


def grey_image(decoded: Decoded) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """The image as (H, W) uint8 luma (ITU-R BT.601), and what was lost on the way.

    Three equal channels are grey already: nothing is lost and nothing is said.
    """
    pixels, mends = decoded.pixels, list(decoded.notes)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels, note = _without_alpha(pixels)
        mends.append(note)
    if pixels.ndim == 3:
        coloured = int((pixels.max(axis=2) != pixels.min(axis=2)).sum())
        if coloured:
            mends.append(f"{coloured} coloured pixels turned grey")
        pixels = np.asarray(Image.fromarray(pixels).convert("L"))
    return pixels, tuple(mends)


def _without_alpha(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], str]:
    """Colour over black where alpha lets it through."""
    colour, alpha = pixels[..., :3], pixels[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(colour), "opaque alpha channel dropped"
    blended = np.rint(colour * (alpha / 255.0)).astype(np.uint8)
    return blended, "transparent pixels laid over black"


def lesion_map(path: Path, decoded: Decoded) -> tuple[Mask, tuple[str, ...]]:
    """The mask as (H, W) bool: what is at least half bright, in any channel.

    Raises:
        RefusedError: where the file holds a picture rather than a mask.
    """
    pixels, mends = decoded.pixels, list(decoded.notes)
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        pixels, note = _without_alpha(pixels)
        mends.append(f"mask: {note}")
    bright = pixels.max(axis=2) if pixels.ndim == 3 else pixels
    top = int(bright.max())
    if top <= 1 or np.isin(bright, (0, top)).all():
        if top not in (0, 1, 255):
            mends.append(f"mask: value {top} taken as lesion")
        return bright > 0, tuple(mends)
    between = int(((bright > 0) & (bright < 255)).sum())
    if between > GREY_SHARE * bright.size:
        raise RefusedError("data-refused", path, "holds a picture rather than a mask")
    mends.append(f"mask: {between} grey pixels of its soft border cut at half")
    return bright >= 128, tuple(mends)


def judge(case: RawCase, raw: Path, image: Decoded, masks: tuple[Decoded, ...]) -> Sample:
    """Make a sample of a decoded case, mending what may be mended.

    Args:
        raw: the folder that source names are relative to.
        masks: one for each of `case.masks`.

    Raises:
        RefusedError: where the case contradicts itself.
    """
    pixels, image_mends = grey_image(image)
    lesion, mask_mends = _union(case, pixels.shape, masks)
    if case.label == "normal" and lesion.any():
        reason = f"is of class normal but its mask marks {int(lesion.sum())} pixels"
        raise RefusedError("data-refused", case.image, reason)
    if case.label != "normal" and not lesion.any():
        file = case.masks[0] if case.masks else case.image
        raise RefusedError("data-refused", file, f"marks no lesion in a case of class {case.label}")
    return Sample(
        case_id=case.case_id,
        label=case.label,
        patient=case.patient,
        image=pixels,
        mask=lesion,
        source_image=case.image.relative_to(raw).as_posix(),
        source_mask="; ".join(mask.relative_to(raw).as_posix() for mask in case.masks),
        spacing=case.spacing,
        device=case.device,
        birads=case.birads,
        mends=(*case.mends, *image_mends, *mask_mends, *_misstated(case, lesion)),
    )


def _union(
    case: RawCase, shape: tuple[int, ...], masks: tuple[Decoded, ...]
) -> tuple[Mask, tuple[str, ...]]:
    """All lesions of the case in one map."""
    if not masks and not (case.label == "normal" and case.mask_optional):
        raise RefusedError("mask-missing", case.image, "has no mask")
    union, mends = np.zeros(shape, dtype=np.bool_), list[str]()
    for path, decoded in zip(case.masks, masks, strict=True):
        lesion, notes = lesion_map(path, decoded)
        if lesion.shape != shape:
            reason = f"is {_size(lesion.shape)} but its image is {_size(shape)}"
            raise RefusedError("data-refused", path, reason)
        union |= lesion
        mends += notes
    return union, tuple(mends)


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]} x {shape[0]}"


def _misstated(case: RawCase, lesion: Mask) -> list[str]:
    """Where the metadata disagree with the pixels; the pixels are right."""
    mends = []
    if case.stated_size is not None and case.stated_size != lesion.shape:
        stated, found = _size(case.stated_size), _size(lesion.shape)
        mends.append(f"metadata say {stated} pixels, the file has {found}")
    if case.stated_box is not None and lesion.any():
        rows, columns = np.nonzero(lesion.any(axis=1))[0], np.nonzero(lesion.any(axis=0))[0]
        x, y = int(columns[0]), int(rows[0])
        box = (x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1)
        off = max(abs(one - two) for one, two in zip(box, case.stated_box, strict=True))
        if off > BOX_TOLERANCE:
            mends.append(f"metadata say box {list(case.stated_box)}, the mask has {list(box)}")
    return mends
