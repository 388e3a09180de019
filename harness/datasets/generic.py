"""A dataset of one's own: a folder with `cases.csv`, which names everything.

Columns: `image`, `class` (benign, malignant, normal), and, where known, `mask` (several are
joined by ";", none for a normal case), `patient`, `case_id` (else a hash of the image's name),
`spacing_row_mm`, `spacing_col_mm`, `device`, `birads`. Paths are relative to the table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from evaluator.documents.base import Label
from evaluator.errors import Code
from harness.datasets.base import Adapter, RawCase, Refusal, Release
from harness.datasets.layout import find_root, hashed_id, named_file, read_table

TABLE = "cases.csv"
SPACING = ("spacing_row_mm", "spacing_col_mm")
REMEDY = (
    f"Name the folder of {TABLE}, which lists the images (docs/add-a-dataset.md); "
    f"save a spreadsheet as CSV under that name."
)
OPTIONAL = ("mask", "patient", "case_id", *SPACING, "device", "birads")
LABELS: dict[str, Label] = {"benign": "benign", "malignant": "malignant", "normal": "normal"}


def read(raw: Path) -> Iterator[RawCase | Refusal]:
    """The cases that `cases.csv` at or below `raw` names, in order of case id."""
    root = find_root(raw, (TABLE,), "dataset's", remedy=REMEDY)
    table = read_table(root / TABLE, ("image", "class"), OPTIONAL)
    yield from sorted((_case(root, row) for row in table.rows), key=_order)


def _order(case: RawCase | Refusal) -> tuple[int, str]:
    return (0, str(case.file)) if isinstance(case, Refusal) else (1, case.case_id)


def _case(root: Path, row: dict[str, str]) -> RawCase | Refusal:
    image = named_file(root, row["image"])
    label = LABELS.get(row["class"].lower())
    masks = tuple(
        named_file(root, part.strip()) for part in row.get("mask", "").split(";") if part.strip()
    )
    spacing = _spacing(row)
    gone = [path for path in (image, *masks) if not path.is_file()]
    if label is None:
        reason = f"has the unknown class {row['class']!r}; known are {', '.join(LABELS)}"
        return Refusal(Code.DATA_REFUSED, image, reason)
    if spacing == "wrong":
        pair = " and ".join(repr(row.get(name, "")) for name in SPACING)
        reason = f"has a spacing of {pair}, no pair of millimetres with decimal points"
        return Refusal(Code.DATA_REFUSED, image, reason)
    if gone:
        return Refusal(Code.MASK_MISSING, gone[0], f"is named in {TABLE} but is not there")
    return RawCase(
        case_id=row.get("case_id") or hashed_id("case", row["image"], image),
        label=label,
        patient=row.get("patient") or None,
        image=image,
        masks=masks,
        spacing=spacing,
        device=row.get("device") or None,
        birads=row.get("birads") or None,
        mask_optional=True,
    )


def _spacing(row: dict[str, str]) -> tuple[float, float] | Literal["wrong"] | None:
    texts = tuple(row.get(name, "") for name in SPACING)
    if texts == ("", ""):
        return None
    try:
        height, width = float(texts[0]), float(texts[1])
    except ValueError:
        return "wrong"
    fine = all(math.isfinite(side) and side > 0 for side in (height, width))
    return (height, width) if fine else "wrong"


ADAPTER = Adapter(
    name="generic",
    title="a dataset of your own",
    release=Release(
        classes={},
        patients=None,
        paper="none: state your own",
        download="your own folder with cases.csv",
        terms="your own",
    ),
    read=read,
)
