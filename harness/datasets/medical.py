"""Reading of DICOM, NIfTI and their kin: one plane, as 8 bits, with the spacing the file states.

SimpleITK does it. It is an extra (`pip install -e '.[formats]'` in a checkout): it weighs more than
all the rest of the harness, and only datasets of one's own need it.
"""

from __future__ import annotations

import gzip
import importlib
import math
from pathlib import Path
from typing import Any

import numpy as np

from evaluator.documents.base import MAX_SIDE
from evaluator.errors import BusbenchError, Code
from harness.datasets.base import RefusedError
from harness.datasets.pixels import Decoded, to_bytes

SUFFIXES = (".dcm", ".dicom", ".nii", ".nii.gz", ".mha", ".mhd", ".nrrd")


def is_medical(path: Path) -> bool:
    """Whether SimpleITK must read the file: by its name, or because it begins as DICOM does."""
    if path.name.lower().endswith(SUFFIXES):
        return True
    with path.open("rb") as handle:
        return handle.read(132)[128:] == b"DICM"


def read_medical(path: Path) -> Decoded:
    """Read a file of one plane; its first axis runs across the image.

    Raises:
        RefusedError: where it is damaged, too large, or contains more than one plane.
        BusbenchError: `extra-missing` where SimpleITK is not installed.
    """
    try:
        sitk: Any = importlib.import_module("SimpleITK")
    except ImportError as error:
        remedy = "Run pip install -e '.[formats]' in your checkout of BUSBench."
        raise BusbenchError(Code.EXTRA_MISSING, f"{path} needs SimpleITK.", remedy) from error
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        line = str(error).strip().splitlines()[-1].split(": ")[-1]
        raise RefusedError(Code.IMAGE_UNREADABLE, path, f"cannot be decoded ({line})") from error
    if max(image.GetSize()[2:], default=1) > 1:
        raise RefusedError(Code.DATA_REFUSED, path, "contains more than one plane")
    if max(image.GetSize()) > MAX_SIDE:
        raise RefusedError(Code.DATA_REFUSED, path, f"has more than {MAX_SIDE} pixels on a side")
    _check_whole(path, image)
    return _decoded(image, sitk.GetArrayFromImage(image))


def _check_whole(path: Path, image: Any) -> None:
    """Refuse a truncated NIfTI file, whose missing part would be read as zeros."""
    if not image.HasMetaDataKey("vox_offset"):
        return
    keys = ("vox_offset", "bitpix", "dim[0]", *(f"dim[{axis}]" for axis in range(1, 8)))
    offset, bits, axes, *sides = (int(float(image.GetMetaData(key))) for key in keys)
    wanted = offset + math.prod(sides[:axes]) * bits // 8
    size = path.stat().st_size
    if path.suffix.lower() == ".gz":
        with gzip.open(path) as handle:  # raises where the archive itself is cut
            size = sum(len(block) for block in iter(lambda: handle.read(1 << 20), b""))
    if size < wanted:
        reason = f"is truncated: {wanted - size} of {wanted} bytes are missing"
        raise RefusedError(Code.IMAGE_UNREADABLE, path, reason)


def _decoded(image: Any, array: Any) -> Decoded:
    channels = image.GetNumberOfComponentsPerPixel()
    shape = (image.GetSize()[1], image.GetSize()[0])
    pixels, notes = to_bytes(np.asarray(array).reshape(*shape, channels))
    if channels == 1:
        pixels = pixels[..., 0]
    across, down = image.GetSpacing()[:2]
    stated = (across, down) != (1.0, 1.0)  # what these formats say where they know nothing
    return Decoded(pixels, notes, (down, across) if stated else None)
