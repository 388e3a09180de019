"""Images of one's own, without a table or masks: found in folders and lists, read as `prepare` does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from evaluator.errors import BusbenchError, Code
from harness.datasets.base import RefusedError
from harness.datasets.decode import decode
from harness.datasets.layout import IMAGE_SUFFIXES, files_below, is_litter
from harness.datasets.medical import SUFFIXES, is_medical
from harness.datasets.repair import Grey, Repairs, visible_grey

LIST = ".txt"  # a file that names images, one a line


@dataclass(frozen=True)
class OwnImage:
    """A file, and how its mask is called: below the folder that was named, with `.png`."""

    path: Path
    mask: str


def find_images(given: Sequence[Path]) -> tuple[tuple[OwnImage, ...], tuple[Path, ...]]:
    """The images of files, of folders with all below them, and of lists; sorted by mask.

    Paths in a list are relative to it.

    Returns:
        The images, and the files in the folders that are none.

    Raises:
        BusbenchError: `raw-missing` where there is no image or a list names what is not there,
            `usage` where two images would share a mask.
    """
    found, others = dict[str, OwnImage](), list[Path]()
    for path, root in (each for place in given for each in _files(place)):
        if path.parent != root and path.is_relative_to(root) and _is_hidden(path, root):
            continue
        if path not in given and not _is_image(path):
            others.append(path)
            continue
        image = OwnImage(path, _mask_name(path.relative_to(root).as_posix()))
        # some file systems know no case
        other = found.setdefault(image.mask.lower(), image)
        if other.path.resolve() != path.resolve():
            message = f"{other.path} and {path} would share the mask {image.mask}."
            raise BusbenchError(Code.USAGE, message, "Rename one of them, or predict them apart.")
    if not found:
        message = f"{given[0]} contains no image."
        remedy = "Name images (PNG, JPEG, BMP, TIFF, DICOM, NIfTI), their folder, or a list of them."
        raise BusbenchError(Code.RAW_MISSING, message, remedy)
    return tuple(sorted(found.values(), key=lambda image: image.mask)), tuple(others)
