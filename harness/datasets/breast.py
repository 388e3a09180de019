"""BrEaST: `case001.png`, `case001_tumor.png`, `case001_other1.png`, and a clinical xlsx.

One image a patient, with its pixel size. Each mask is one lesion: `tumor` is the one that was
diagnosed, `other1`, `other2`, ... are further ones, and all of them count. The table names the
masks of an image. Archive and table are downloaded apart, so that files are found by name wherever
they lie.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from pathlib import Path

from evaluator.documents.base import Label
from evaluator.errors import BusbenchError, Code
from harness.datasets.base import Adapter, RawCase, Refusal, Release
from harness.datasets.layout import IMAGE_SUFFIXES, Table, files_below, is_litter, read_table

LABELS: dict[str, Label] = {"benign": "benign", "malignant": "malignant", "normal": "normal"}
MASKS = ("Mask_tumor_filename", "Mask_other_filename")
COLUMNS = ("CaseID", "Image_filename", *MASKS, "BIRADS", "Classification")
PIXEL_SIZE = re.compile(r"pixel_size( ?\(cm\))?", re.IGNORECASE)  # of a side, in centimetres
SEPARATOR = re.compile("[&;,]")  # between masks; the release has `&`
OWN_NAME = re.compile(r"case0*(\d+)", re.IGNORECASE)
TABLE = "BrEaST-Lesions-USG-clinical-data-Dec-15-2023.xlsx"

Files = dict[str, Path]  # by name, in small letters


def read(raw: Path) -> Iterator[RawCase | Refusal]:
    """The cases that the table at or below `raw` names, in order of case id."""
    files = _files(raw)
    table = _table(raw, files)
    cases, named = list[RawCase](), set[str]()
    for row in table.rows:
        names = [row["Image_filename"], *_masks(row)]
        named |= {name.casefold() for name in names}
        gone = [name for name in names if name.casefold() not in files]
        if gone:
            reason = f"is named in {table.path.name} but is not there"
            yield Refusal(Code.MASK_MISSING, raw / gone[0], reason)
            continue
        image, *masks = (files[name.casefold()] for name in names)
        case = _case(image, tuple(masks), row)
        if isinstance(case, Refusal):
            yield case
        else:
            cases.append(case)
    for name, path in sorted(files.items()):
        if path.suffix.lower() in IMAGE_SUFFIXES and name not in named:
            yield Refusal(Code.DATA_REFUSED, path, f"has no row in {table.path.name}")
    yield from sorted(cases, key=lambda case: case.case_id)


def _files(raw: Path) -> Files:
    files: Files = {}
    for path in sorted(files_below(raw)):
        if any(is_litter(Path(part)) for part in path.relative_to(raw).parts):
            continue
        first = files.setdefault(path.name.casefold(), path)
        if first != path and path.suffix.lower() in (*IMAGE_SUFFIXES, ".xlsx", ".csv"):
            message = f"{raw} contains two files of one name: {first}, {path}."
            raise BusbenchError(Code.RAW_MISSING, message, "Leave one copy of the release there.")
    return files


def _table(raw: Path, files: Files) -> Table:
    """The clinical table, with the pixel size under the name `Pixel_size`."""
    found = [path for name, path in files.items() if re.fullmatch(r"[^~].*\.(xlsx|csv)", name)]
    found = [path for path in found if "clinical" in path.name.casefold()] or found
    if len(found) != 1:
        names = ": " + ", ".join(map(str, found)) if found else ""
        message = f"{raw} contains {len(found)} clinical tables of BrEaST{names}."
        raise BusbenchError(Code.RAW_MISSING, message, f"Put {TABLE} there, alone.")
    table = read_table(found[0], COLUMNS)
    sizes = [head for head in table.rows[0] if PIXEL_SIZE.fullmatch(head)] if table.rows else [""]
    if len(sizes) != 1:
        message = f"{table.path} has no column Pixel_size, or several: its unit must be cm."
        raise BusbenchError(Code.RAW_MISSING, message, "Restore it from the release.")
    return replace(table, rows=tuple({**row, "Pixel_size": row[sizes[0]]} for row in table.rows))


def _masks(row: dict[str, str]) -> list[str]:
    names = (part.strip() for column in MASKS for part in SEPARATOR.split(row[column]))
    return [name for name in names if name]


def _case(image: Path, masks: tuple[Path, ...], row: dict[str, str]) -> RawCase | Refusal:
    name, label = OWN_NAME.fullmatch(image.stem), LABELS.get(row["Classification"].lower())
    number = row["CaseID"].lower().removesuffix(".0").removeprefix("case").lstrip("0")
    spacing = _spacing(row["Pixel_size"])
    strange = [mask for mask in masks if not mask.stem.startswith(f"{image.stem}_")]
    if name is None:
        return Refusal(Code.DATA_REFUSED, image, "is not named like case001.png")
    if number != name[1]:
        reason = f"is of patient {name[1]} by its name but of {row['CaseID']} by its table"
        return Refusal(Code.DATA_REFUSED, image, reason)
    if strange or len(set(masks)) < len(masks):
        reason = f"is named as a mask of {image.name}" if strange else "is named twice"
        return Refusal(Code.DATA_REFUSED, (strange or masks)[0], reason)
    if label is None:
        reason = f"has the unknown class {row['Classification']!r}"
        return Refusal(Code.DATA_REFUSED, image, reason)
    if spacing is None:
        reason = f"has the pixel size {row['Pixel_size']!r}, which is no length in centimetres"
        return Refusal(Code.DATA_REFUSED, image, reason)
    return RawCase(
        case_id=image.stem,
        label=label,
        patient=name[1],
        image=image,
        masks=masks,
        spacing=spacing,
        birads=row["BIRADS"] or None,
        mask_optional=True,
        one_lesion_a_mask=True,
    )


def _spacing(text: str) -> tuple[float, float] | None:
    """(row, column) in millimetres, from a pixel's side in centimetres."""
    try:
        side = float(10 * Decimal(text.replace(",", ".")))
    except InvalidOperation:
        return None
    return (side, side) if 0 < side < float("inf") else None


ADAPTER = Adapter(
    name="breast",
    title="BrEaST",
    release=Release(
        classes={"benign": 154, "malignant": 98, "normal": 4},
        patients=256,
        paper="doi:10.1038/s41597-024-02984-z",
        download="doi:10.7937/9WKK-Q141",
        terms="CC BY 4.0: cite the paper and the collection",
        may_show=True,
    ),
    read=read,
)
