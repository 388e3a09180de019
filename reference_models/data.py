"""Reader of a training bundle: checked to be whole, unchanged and free of test cases.

BUNDLE/bundle.json        what it is, and the digest of cases.csv
BUNDLE/cases.csv          one row a case: fold, class, patient group, size, digests of its pixels
BUNDLE/images/<id>.png    grey, 8 bits
BUNDLE/masks/<id>.png     1 bit, at the image's size
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from reference_models.awesome_bus import resized
from reference_models.config import InputSettings, Settings, validated
from reference_models.errors import BundleError, UsageError
from reference_models.files import sha256_bytes, sha256_pixels
from reference_models.logs import Progress, quiet

SCHEMAS = ("busbench/training-bundle/v3", "busbench/training-bundle/v2")
_COLUMNS = (
    "case_id,fold,class,patient_group,height,width,spacing_row_mm,spacing_col_mm,"
    "image_sha256,mask_sha256"
)
CLASSES = ("benign", "malignant", "normal")
_CASE_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$")
Bytes = NDArray[np.uint8]
Resize = Callable[[Bytes, tuple[int, int]], Bytes]  # an image (h, w) to (height, width)
_REMEDY = "Ask the organiser for the training bundle again."


class BundleDocument(Settings):
    """`bundle.json`."""

    schema_: Literal["busbench/training-bundle/v2", "busbench/training-bundle/v3"] = Field(
        alias="schema"
    )
    dataset: str
    track: str
    split_version: str
    split_digest: str
    folds: int = Field(ge=2)
    cases: int = Field(ge=1)
    cases_sha256: str
    test_cases: int
    windows: int | None = None  # transformed images of each test image; v2 does not know
    infer: dict[str, float]  # limits of the organiser's inference
    source: dict[str, str]
    model: dict[str, float]  # limits on ONNX files


@dataclass(frozen=True)
class Case:
    """What training needs of a row of `cases.csv`."""

    case_id: str
    fold: int
    image_sha256: str
    mask_sha256: str


@dataclass(frozen=True)
class Bundle:
    """A training bundle whose table has been checked; pixels are checked as they are read."""

    path: Path
    document: BundleDocument
    cases: tuple[Case, ...]  # in order of case id

    @property
    def folds(self) -> range:
        """The fold numbers, from 0."""
        return range(self.document.folds)


@dataclass(frozen=True)
class LoadedCases:
    """All cases of a bundle at the network's size.

    Args:
        images: (N, H, W) uint8.
        masks: (N, H, W) uint8, 0 or 1.
        folds: (N,) the fold in which each case validates.
    """

    images: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    folds: NDArray[np.int64]

    def training(self, fold: int) -> NDArray[np.int64]:
        """Indices of the cases that train the model of `fold`."""
        return np.flatnonzero(self.folds != fold)

    def validation(self, fold: int) -> NDArray[np.int64]:
        """Indices of the cases that validate the model of `fold`."""
        return np.flatnonzero(self.folds == fold)


def open_bundle(path: Path) -> Bundle:
    """Open a training bundle and check its table.

    Raises:
        BundleError: it is missing, incomplete, was changed, or contains test cases.
    """
    document = _document(path / "bundle.json")
    table = _bytes(path / "cases.csv")
    if sha256_bytes(table) != document.cases_sha256:
        raise BundleError(f"{path / 'cases.csv'} does not match bundle.json.", _REMEDY)
    cases = _cases(table, path / "cases.csv", document.folds)
    if len(cases) != document.cases:
        raise BundleError(
            f"{path / 'cases.csv'} has {len(cases)} cases, not {document.cases}.", _REMEDY
        )
    for folder in ("images", "masks"):
        _check_folder(path / folder, cases)
    return Bundle(path, document, cases)


def load_cases(
    bundle: Bundle,
    settings: InputSettings,
    progress: Progress = quiet,
    *,
    resample: Literal["bilinear", "lanczos4"] = "bilinear",
) -> LoadedCases:
    """Read, check and letterbox every case, image and mask as `resample` says.

    Raises:
        BundleError: a file cannot be decoded or does not match its digest.
    """
    size = (settings.height, settings.width)
    for_images, for_masks = RESAMPLES[resample]
    images = np.zeros((len(bundle.cases), *size), dtype=np.uint8)
    masks = np.zeros_like(images)
    for index, case in enumerate(bundle.cases):
        image, mask = read_case(bundle, case)
        images[index] = letterbox(image, size, for_images)
        masks[index] = letterbox(mask, size, for_masks)
        if (index + 1) % 100 == 0 or index + 1 == len(bundle.cases):
            progress("reading cases", index + 1, len(bundle.cases))
    return LoadedCases(images, masks, np.array([case.fold for case in bundle.cases]))


def read_case(bundle: Bundle, case: Case) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The image (H, W) uint8 and mask (H, W) bool of a case, checked against their digests.

    Raises:
        BundleError: a file cannot be decoded or does not match its digest.
    """
    name = f"{case.case_id}.png"
    image = _decode(bundle.path / "images" / name, "L", case.image_sha256)
    mask = _decode(bundle.path / "masks" / name, "1", case.mask_sha256)
    return image.astype(np.uint8), mask.astype(np.bool_)


def _decode(path: Path, mode: str, digest: str) -> NDArray[Any]:
    try:
        with Image.open(path) as image:
            found, pixels = image.mode, np.asarray(image)
    except (OSError, Image.DecompressionBombError) as error:
        raise BundleError(f"{path} cannot be read.", _REMEDY) from error
    if found != mode or sha256_pixels(pixels) != digest:
        raise BundleError(f"{path} does not match its digest in cases.csv.", _REMEDY)
    return pixels


def _document(path: Path) -> BundleDocument:
    try:
        value = json.loads(_bytes(path))
        if isinstance(value, dict) and value.get("schema") not in SCHEMAS:
            raise BundleError(
                f"{path} has the schema {value.get('schema')!r}, not {' or '.join(SCHEMAS)}.",
                "Name the training bundle: training reads no other.",
            )
        return validated(BundleDocument, value, str(path), remedy=_REMEDY)
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{path} is no JSON.", _REMEDY) from error
    except UsageError as error:
        raise BundleError(error.message, _REMEDY) from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}).", _REMEDY) from error


def _cases(table: bytes, where: Path, folds: int) -> tuple[Case, ...]:
    try:
        reader = csv.DictReader(io.StringIO(table.decode("utf-8")), strict=True)
        rows, header = list(reader), tuple(reader.fieldnames or ())
    except (UnicodeDecodeError, csv.Error) as error:
        raise BundleError(f"{where} is no CSV.", _REMEDY) from error
    if any(row.get("part", "train") != "train" for row in rows):
        raise BundleError(f"{where} contains test cases.", _REMEDY)
    if header != tuple(_COLUMNS.split(",")):
        raise BundleError(f"{where} has other columns than {_COLUMNS}.", _REMEDY)
    cases = tuple(sorted((_case(row, where, folds) for row in rows), key=lambda c: c.case_id))
    if len({case.case_id for case in cases}) != len(cases):
        raise BundleError(f"{where} names a case twice.", _REMEDY)
    missing = set(range(folds)) - {case.fold for case in cases}
    if missing:
        raise BundleError(f"{where} has no case in fold {min(missing)}.", _REMEDY)
    return cases


def _case(row: dict[str, str], where: Path, folds: int) -> Case:
    name = row["case_id"]
    if not _CASE_ID.match(name or "") or None in row or None in row.values():
        raise BundleError(f"{where} has a broken row at case {name!r}.", _REMEDY)
    if row["fold"] not in {str(fold) for fold in range(folds)}:
        raise BundleError(
            f"{where}: case {name} has the fold {row['fold']!r}; only test cases have none.",
            _REMEDY,
        )
    if row["class"] not in CLASSES or not (row["height"].isdigit() and row["width"].isdigit()):
        raise BundleError(f"{where}: case {name} has an unknown class or no size.", _REMEDY)
    return Case(name, int(row["fold"]), row["image_sha256"], row["mask_sha256"])


def _check_folder(folder: Path, cases: Sequence[Case]) -> None:
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    expected = {f"{case.case_id}.png" for case in cases}
    if expected - present:
        raise BundleError(f"{folder / min(expected - present)} is missing.", _REMEDY)
    if present - expected:
        raise BundleError(
            f"{folder / min(present - expected)} belongs to no case of cases.csv.", _REMEDY
        )


@dataclass(frozen=True)
class Letterbox:
    """Where an image lies inside the input: size and top left corner, in pixels."""

    height: int
    width: int
    top: int
    left: int


def fit_inside(height: int, width: int, into: tuple[int, int]) -> Letterbox:
    """Scale a height x width image to just fit `into` (height, width), centred.

    The scale is min(H/h, W/w); sides are rounded as Python rounds (halves to even), at least 1.
    """
    scale = min(into[0] / height, into[1] / width)
    new_height, new_width = max(1, round(height * scale)), max(1, round(width * scale))
    return Letterbox(new_height, new_width, (into[0] - new_height) // 2, (into[1] - new_width) // 2)


def letterbox(image: NDArray[Any], into: tuple[int, int], resize: Resize) -> NDArray[np.uint8]:
    """Resize a (h, w) uint8 or bool image into a zero (H, W) frame; bool becomes 0/1."""
    height, width = image.shape
    box = fit_inside(height, width, into)
    frame = np.zeros(into, dtype=np.uint8)
    rows, columns = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
    source = np.ascontiguousarray(image, dtype=np.uint8)
    frame[rows, columns] = resize(source, (box.height, box.width))
    return frame


def _by_pillow(image: Bytes, size: tuple[int, int], *, kind: Image.Resampling) -> Bytes:
    return np.asarray(Image.fromarray(image).resize(size[::-1], kind))


BILINEAR: Resize = partial(_by_pillow, kind=Image.Resampling.BILINEAR)
NEAREST: Resize = partial(_by_pillow, kind=Image.Resampling.NEAREST)
# For images and for masks.
RESAMPLES: dict[str, tuple[Resize, Resize]] = {
    "bilinear": (BILINEAR, NEAREST),
    "lanczos4": (partial(resized, smooth=True), partial(resized, smooth=False)),
}
