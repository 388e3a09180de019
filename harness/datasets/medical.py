"""Reading of DICOM, NIfTI and their kin: one plane, as 8 bits, with the spacing the file states.

SimpleITK reads pixels and geometry, pydicom what ultrasound adds to DICOM. They are an extra
(`formats`): they weigh more than all the rest of the harness, and only datasets of one's own need
them.
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
from harness.datasets.pixels import Decoded, Geometry, look_alike, to_bytes

REGIONS = "SequenceOfUltrasoundRegions"
SUFFIXES = (".dcm", ".dicom", ".nii", ".nii.gz", ".mha", ".mhd", ".nrrd")
CHANNELS = (1, 3)  # alpha would be scaled with the colours


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
    sitk = _extra("SimpleITK", path)
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
    if image.GetNumberOfComponentsPerPixel() not in CHANNELS:
        reason = f"has {image.GetNumberOfComponentsPerPixel()} values a pixel, not grey or RGB"
        raise RefusedError(Code.DATA_REFUSED, path, reason)
    _check_whole(path, image)
    dicom = image.HasMetaDataKey("0008|0016")  # the class of a DICOM object
    regions = _ultrasound_spacing(path) if dicom else None
    return _decoded(image, sitk.GetArrayFromImage(image), regions)


def _extra(name: str, path: Path) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        remedy = "Install the extra formats of busbench (docs/add-a-dataset.md)."
        raise BusbenchError(Code.EXTRA_MISSING, f"{path} needs {name}.", remedy) from error


def _ultrasound_spacing(path: Path) -> tuple[float, float] | None:
    """(row, column) in millimetres of the regions of tissue; None where no region states them.

    DICOM PS3.3 C.8.5.5: data type 1 is tissue, units 3 are centimetres.

    Raises:
        RefusedError: where two regions have two spacings: no single one is the image's.
    """
    regions = _extra("pydicom", path).dcmread(path, stop_before_pixels=True).get(REGIONS, ())
    stated = {
        (10 * abs(float(region.PhysicalDeltaY)), 10 * abs(float(region.PhysicalDeltaX)))
        for region in regions
        if region.get("RegionDataType") == 1
        and (region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection")) == (3, 3)
    }
    if len(stated) > 1:
        reason = f"contains {len(stated)} regions of tissue of different spacing; cut out one"
        raise RefusedError(Code.DATA_REFUSED, path, reason)
    return next(iter(stated), None)


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


def _decoded(image: Any, array: Any, regions: tuple[float, float] | None) -> Decoded:
    channels = image.GetNumberOfComponentsPerPixel()
    shape = (image.GetSize()[1], image.GetSize()[0])
    values = np.asarray(array).reshape(*shape, channels)
    pixels, notes = to_bytes(values)
    if channels == 1:
        pixels = pixels[..., 0]
    across, down = image.GetSpacing()[:2]
    if regions is not None:
        down, across = regions
    stated = (across, down) != (1.0, 1.0)  # what these formats say where they know nothing
    geometry = Geometry((across, down), image.GetOrigin(), image.GetDirection())
    unknown = geometry.is_close(Geometry((1, 1), (0, 0), (1, 0, 0, 1)))
    return Decoded(
        pixels,
        notes,
        (down, across) if stated else None,
        geometry=None if unknown else geometry,
        lost_labels=look_alike(values, pixels),
    )
