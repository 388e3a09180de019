"""The case store: one canonical form for all datasets, written by prepare, read by the rest.

STORE/cases.parquet      one row a case
STORE/images/<id>.png    grey, 8 bits, lossless
STORE/masks/<id>.png     1 bit, at the image's size: all lesions
STORE/lesions/<id>.png   grey, 8 bits: lesions by number from 1, where there are several
STORE/store.json         written last: its presence means the store is complete
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from evaluator.documents.base import CaseId, Contract, Digest, Label, Name, read, write
from evaluator.errors import BusbenchError, Code
from evaluator.files import canonical_json, sha256_bytes, sha256_pixels, write_atomically
from harness.folders import whole_folder

REMEDY = "Run `busbench prepare` again into a new folder."
ORIGIN = ("source_image", "source_mask", "repairs")
APART = ("lesions", "lesions_sha256")  # columns with a digest of their own
MAX_LESIONS = 255  # of one case: what 8 bits can number


@dataclass(frozen=True)
class Case:
    """One image with its lesion mask, as the store's table has it."""

    case_id: CaseId
    label: Label
    patient: str | None
    height: int
    width: int
    spacing_row_mm: float | None
    spacing_col_mm: float | None
    image_sha256: Digest  # over shape and pixels, see `evaluator.files.sha256_pixels`
    mask_sha256: Digest
    lesions: int  # how many, apart from each other
    lesions_sha256: Digest  # over shape and numbers of the lesion map
    source_image: str  # relative to the raw folder
    source_mask: str  # several lesion masks are joined by "; "
    device: str | None
    birads: str | None
    repairs: str  # what was repaired in it, joined by "; "; empty where nothing was

    @property
    def spacing(self) -> tuple[float, float] | None:
        """(row, column) in millimetres, or None where the release states none."""
        if self.spacing_row_mm is None or self.spacing_col_mm is None:
            return None
        return self.spacing_row_mm, self.spacing_col_mm

    @property
    def shown(self) -> str:
        """Its id, and its image's place in the release where that has another name."""
        same = PurePosixPath(self.source_image).stem == self.case_id
        return self.case_id if same else f"{self.case_id} ({self.source_image})"


COLUMNS = tuple(field.name for field in fields(Case))


@dataclass(frozen=True)
class Sample:
    """A case with its pixels, on its way into the store."""

    case_id: str
    label: Label
    patient: str | None
    image: NDArray[np.uint8]  # (H, W)
    mask: NDArray[np.bool_]  # (H, W)
    source_image: str
    source_mask: str
    spacing: tuple[float, float] | None = None  # (row, column) in millimetres
    device: str | None = None
    birads: str | None = None
    repairs: tuple[str, ...] = ()
    lesions: NDArray[np.uint8] | None = None  # (H, W), by number from 1; None: connected areas


class StoreInfo(Contract):
    """`store.json`."""

    schema_: Literal["busbench/store/v2"] = Field(default="busbench/store/v2", alias="schema")
    dataset: Name
    cases: int
    classes: dict[str, int]
    patients: int | None  # null where the release names none
    digest: Digest  # over the rows of the table, see `rows_digest`
    lesions_digest: Digest  # over the lesions of every case, see `lesions_digest`


def rows_digest(cases: Iterable[Case]) -> str:
    """Digest over what every case is, independent of order and of the Parquet writer.

    Not over where it came from: the same release, unpacked one folder deeper, is the same store.
    """
    ordered = sorted(cases, key=lambda case: case.case_id)
    left_out = (*ORIGIN, *APART)
    rows = [{k: v for k, v in asdict(case).items() if k not in left_out} for case in ordered]
    return sha256_bytes(canonical_json(rows))


def lesions_digest(cases: Iterable[Case]) -> str:
    """Digest over which pixels every lesion of every case has.

    Apart from `rows_digest`, so that splits frozen before lesions were kept fit their stores.
    """
    rows = sorted((case.case_id, case.lesions, case.lesions_sha256) for case in cases)
    return sha256_bytes(canonical_json(rows))


def connected(mask: NDArray[np.bool_]) -> NDArray[np.integer[Any]]:
    """The connected areas (8 neighbours) of a (H, W) mask, by number from 1 in raster order."""
    from scipy.ndimage import label  # noqa: PLC0415  takes half a second to import

    areas: NDArray[np.integer[Any]] = label(mask, np.ones((3, 3)))[0]
    return areas


def png_bytes(array: NDArray[np.uint8] | NDArray[np.bool_]) -> bytes:
    """Encode a (H, W) array as PNG: uint8 as 8-bit grey, bool as 1 bit."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG", optimize=False, compress_level=4)
    return buffer.getvalue()


@dataclass(frozen=True)
class CaseStore:
    """An opened, complete store; cases in order of case id."""

    path: Path
    info: StoreInfo
    cases: tuple[Case, ...]

    @classmethod
    def open(cls, path: Path) -> CaseStore:
        """Open a store and check its table against its digest.

        Raises:
            BusbenchError: `store-invalid` where it is missing, unfinished or was changed.
        """
        import pandas as pd  # noqa: PLC0415  takes a second to import

        info = read(StoreInfo, path / "store.json", Code.STORE_INVALID, remedy=REMEDY)
        try:
            frame = pd.read_parquet(path / "cases.parquet").astype(object)
        except (OSError, ValueError) as error:
            raise BusbenchError(
                Code.STORE_INVALID, f"{path / 'cases.parquet'} cannot be read.", REMEDY
            ) from error
        if tuple(frame.columns) != COLUMNS:
            raise BusbenchError(
                Code.STORE_INVALID, f"{path / 'cases.parquet'} has other columns.", REMEDY
            )
        rows = frame.where(frame.notna(), None).to_dict("records")
        cases = tuple(Case(**{str(key): value for key, value in row.items()}) for row in rows)
        if (rows_digest(cases), lesions_digest(cases)) != (info.digest, info.lesions_digest):
            raise BusbenchError(
                Code.STORE_INVALID, f"{path / 'cases.parquet'} does not match store.json.", REMEDY
            )
        return cls(path, info, cases)

    def image_path(self, case_id: str) -> Path:
        """Where the image of a case lies."""
        return self.path / "images" / f"{case_id}.png"

    def mask_path(self, case_id: str) -> Path:
        """Where the mask of a case lies."""
        return self.path / "masks" / f"{case_id}.png"

    def lesions_path(self, case_id: str) -> Path:
        """Where the lesion map of a case with several lesions lies."""
        return self.path / "lesions" / f"{case_id}.png"

    def image(self, case_id: str) -> NDArray[np.uint8]:
        """The image of a case, (H, W) uint8; raises `store-invalid` where it is gone."""
        return _decode(self.image_path(case_id), "L")[1].astype(np.uint8)

    def mask(self, case_id: str) -> NDArray[np.bool_]:
        """The mask of a case, (H, W) bool; raises `store-invalid` where it is gone."""
        return _decode(self.mask_path(case_id), "1")[1].astype(np.bool_)

    def lesions(self, case_id: str) -> NDArray[np.uint8]:
        """The lesion map of a case: (H, W) uint8, 0 where none is, else a lesion's number from 1.

        Raises:
            BusbenchError: `store-invalid` where it is gone, or is not the table's.
        """
        path = self.lesions_path(case_id)
        case = next(case for case in self.cases if case.case_id == case_id)
        several = case.lesions > 1
        found = _decode(path, "L")[1] if several else self.mask(case_id).astype(np.uint8)
        if sha256_pixels(found) != case.lesions_sha256:
            message = f"{path if several else self.mask_path(case_id)} was changed."
            raise BusbenchError(Code.STORE_INVALID, message, REMEDY)
        return found

    def image_file(self, case: Case) -> bytes:
        """The PNG of a case's image; raises `store-invalid` unless it is the table's."""
        return _unchanged(self.image_path(case.case_id), "L", case.image_sha256)[0]

    def mask_file(self, case: Case) -> bytes:
        """The PNG of a case's mask; raises `store-invalid` unless it is the table's."""
        return _unchanged(self.mask_path(case.case_id), "1", case.mask_sha256)[0]

    def labels_file(self, case: Case) -> bytes:
        """The PNG of a case's lesions, by number where there are several, else of its mask.

        Raises:
            BusbenchError: `store-invalid` unless it is the table's.
        """
        if case.lesions < 2:
            return self.mask_file(case)
        return _unchanged(self.lesions_path(case.case_id), "L", case.lesions_sha256)[0]

    def checked_image(self, case: Case) -> NDArray[np.uint8]:
        """A case's image, (H, W) uint8; raises `store-invalid` unless it is the table's."""
        return _unchanged(self.image_path(case.case_id), "L", case.image_sha256)[1]

    def checked_mask(self, case: Case) -> NDArray[np.bool_]:
        """A case's mask, (H, W) bool; raises `store-invalid` unless it is the table's."""
        return _unchanged(self.mask_path(case.case_id), "1", case.mask_sha256)[1]


def _unchanged(path: Path, mode: str, digest: Digest) -> tuple[bytes, NDArray[Any]]:
    """A file's bytes and pixels, which are compared, and read once: it may be changed meanwhile."""
    data, pixels = _decode(path, mode)
    if sha256_pixels(pixels) != digest:
        message = f"{path} was changed: the pixels of {path.stem} are not those of cases.parquet."
        raise BusbenchError(Code.STORE_INVALID, message, REMEDY)
    return data, pixels


def _decode(path: Path, mode: str) -> tuple[bytes, NDArray[Any]]:
    """A file's bytes and pixels. In another mode, two decoders may see two masks in it."""
    try:
        data = path.read_bytes()
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            found, pixels = image.mode, np.asarray(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BusbenchError(Code.STORE_INVALID, f"{path} cannot be read.", REMEDY) from error
    if found != mode:
        message = f"{path} is a PNG of mode {found}, and the store's are of mode {mode}."
        raise BusbenchError(Code.STORE_INVALID, message, REMEDY)
    return data, pixels


def write_store(
    path: Path,
    dataset: str,
    samples: Iterable[Sample],
    *,
    beside: Callable[[], Mapping[str, Contract]] = dict,
) -> CaseStore:
    """Write a complete store; see `whole_folder`.

    Args:
        beside: asked after the last sample for further documents to put into the store, by name.

    Raises:
        BusbenchError: `output-exists` where `path` is taken, `disk-full` where the disk refuses.
    """
    import pandas as pd  # noqa: PLC0415  takes a second to import

    with whole_folder(path, last="store.json") as partial:
        cases = tuple(sorted((_add(partial, s) for s in samples), key=lambda c: c.case_id))
        info = _describe(dataset, cases)
        frame = pd.DataFrame([asdict(case) for case in cases], columns=list(COLUMNS))
        frame.to_parquet(partial / "cases.parquet", index=False)
        for name, document in beside().items():
            write(document, partial / name)
        write(info, partial / "store.json")
    return CaseStore(path, info, cases)


def _add(root: Path, sample: Sample) -> Case:
    write_atomically(root / "images" / f"{sample.case_id}.png", png_bytes(sample.image))
    write_atomically(root / "masks" / f"{sample.case_id}.png", png_bytes(sample.mask))
    lesions = connected(sample.mask) if sample.lesions is None else sample.lesions
    count = int(lesions.max(initial=0))
    if count > MAX_LESIONS:
        raise ValueError(f"{sample.case_id} has {count} lesions")
    if count > 1:
        numbers = png_bytes(lesions.astype(np.uint8))
        write_atomically(root / "lesions" / f"{sample.case_id}.png", numbers)
    height, width = sample.image.shape
    spacing = sample.spacing or (None, None)
    return Case(
        case_id=sample.case_id,
        label=sample.label,
        patient=sample.patient,
        height=height,
        width=width,
        spacing_row_mm=spacing[0],
        spacing_col_mm=spacing[1],
        image_sha256=sha256_pixels(sample.image),
        mask_sha256=sha256_pixels(sample.mask),
        lesions=count,
        lesions_sha256=sha256_pixels(lesions),
        source_image=sample.source_image,
        source_mask=sample.source_mask,
        device=sample.device,
        birads=sample.birads,
        repairs="; ".join(sample.repairs),
    )


def _describe(dataset: str, cases: tuple[Case, ...]) -> StoreInfo:
    labels = [case.label for case in cases]
    patients = {case.patient for case in cases if case.patient is not None}
    return StoreInfo(
        dataset=dataset,
        cases=len(cases),
        classes={label: labels.count(label) for label in sorted(set(labels))},
        patients=len(patients) or None,
        digest=rows_digest(cases),
        lesions_digest=lesions_digest(cases),
    )
