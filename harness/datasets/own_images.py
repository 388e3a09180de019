"""Images without table or masks: found in folders and lists, read as `prepare` reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NamedTuple

from evaluator.errors import BusbenchError, Code
from harness.datasets.decode import decode
from harness.datasets.layout import IMAGE_SUFFIXES, decoded, files_below, is_litter
from harness.datasets.medical import SUFFIXES, is_medical
from harness.datasets.repair import Grey, Repairs, plausible_spacing, visible_grey

LIST = ".txt"  # ends the name of a file that lists images, one a line


class ReadImage(NamedTuple):
    """An image that was read."""

    pixels: Grey  # (H, W)
    repairs: Repairs  # what was changed to get them
    spacing: tuple[float, float] | None  # (row, column) in millimetres


@dataclass(frozen=True)
class OwnImage:
    """An image file, and the name of its mask: a path below the folder that was named."""

    path: Path
    mask: str

    def read(self, stated: tuple[float, float] | None = None) -> ReadImage:
        """The image; see `ReadImage`.

        Args:
            stated: the spacing (row, column) in millimetres, where the file says none.

        Raises:
            RefusedError: where `prepare` would refuse the image.
        """
        decoded = decode(self.path)
        pixels, repairs = visible_grey(self.path, decoded)
        spacing = plausible_spacing(self.path, decoded, decoded.spacing or stated)
        return ReadImage(pixels, repairs, spacing)


def find_images(given: Sequence[Path]) -> tuple[tuple[OwnImage, ...], tuple[Path, ...]]:
    """The images among files, in folders with all that is below them, and in lists.

    Returns:
        The images in order of their masks, and the files in folders that are no images.

    Raises:
        BusbenchError: `raw-missing` where there is no image, or not the one that a list names;
            `usage` where two images would have one mask.
    """
    found, others = dict[str, OwnImage](), list[Path]()
    for path, name, is_named in (each for place in given for each in _files(place)):
        if not is_named and not _is_image(path):
            others.append(path)
            continue
        image = OwnImage(path, f"{_stem(name).as_posix()}.png")
        same = found.setdefault(image.mask.lower(), image)  # some file systems know no case
        if same.path.resolve() != path.resolve():
            message = f"{same.path} and {path} would both have the mask {image.mask}."
            raise BusbenchError(Code.USAGE, message, "Rename one of them, or predict them apart.")
    if not found:
        message = f"{given[0]} contains no image."
        remedy = "Name images (PNG, JPEG, TIFF, DICOM ...), their folder, or a list of them."
        raise BusbenchError(Code.RAW_MISSING, message, remedy)
    return tuple(sorted(found.values(), key=lambda image: image.mask)), tuple(others)


def _files(place: Path) -> Iterator[tuple[Path, PurePath, bool]]:
    """Each file of a place: its path, its name there, and whether it was named itself."""
    if place.is_dir():
        for path in sorted(files_below(place)):
            name = path.relative_to(place)
            if not any(is_litter(part) for part in (path, *map(Path, name.parts))):
                yield path, name, False
    elif place.suffix.lower() == LIST:
        for path in _listed(place):
            inside = path.is_relative_to(place.parent) and ".." not in path.parts
            yield path, path.relative_to(place.parent) if inside else PurePath(path.name), True
    else:
        yield place, PurePath(place.name), True


def _listed(place: Path) -> Iterator[Path]:
    """The files that a list names, relative to its folder; blank lines are passed over."""
    try:
        lines = decoded(place).splitlines()
    except (OSError, ValueError) as error:
        message = f"{place} is no list of images: it is not text."
        raise BusbenchError(Code.RAW_MISSING, message, "Write one path a line.") from error
    for number, line in enumerate(map(str.strip, lines), 1):
        if line and not (place.parent / line).is_file():
            message = f"{place}, line {number}: {place.parent / line} is not there."
            raise BusbenchError(Code.RAW_MISSING, message, "Name files relative to the list.")
        if line:
            yield place.parent / line


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES or is_medical(path)


def _stem(name: PurePath) -> PurePath:
    """A name without the suffix of an image; dots of a DICOM file without one stay."""
    lower = name.name.lower()
    suffix = next((end for end in (*IMAGE_SUFFIXES, *SUFFIXES) if lower.endswith(end)), "")
    return name.with_name(name.name[: len(name.name) - len(suffix)] or name.name)
