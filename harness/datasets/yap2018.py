"""Yap2018 (UDIAT, "Dataset B"): `original/000001.png`, `GT/000001.png`, and an xlsx.

Numbers run from 1 to 310 with gaps, one image a patient. `DatasetB.xlsx`, beside the folders or
one above, names the class in `Type`; its `Image` is a number, as text, with or without zeros.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from evaluator.documents.base import Label
from evaluator.errors import Code
from harness.datasets.base import Adapter, RawCase, Refusal, Release
from harness.datasets.layout import Table, files_in, find_root, pair_up, read_table

LABELS: dict[str, Label] = {"benign": "benign", "malignant": "malignant"}
TABLE = "DatasetB.xlsx"


def read(raw: Path) -> Iterator[RawCase | Refusal]:
    """The cases of the folder at or below `raw` that contains `original` and `GT`."""
    root = find_root(raw, ("original", "GT"), "Yap2018")
    above = root.parent / TABLE
    table = _by_number(read_table(above if above.is_file() else root / TABLE, ("Image", "Type")))
    images, masks = files_in(root / "original"), files_in(root / "GT")
    pairs, refusals = pair_up(images, masks, lambda mask: mask.stem)
    yield from refusals
    for image, own_masks in pairs:
        row = table.row("Image", image.stem.lstrip("0"), image)
        yield row if isinstance(row, Refusal) else _case(image, own_masks, row)


def _by_number(table: Table) -> Table:
    """The table with `Image` as a bare number: "000007", "7" and "7.0" are one image."""
    numbers = [row["Image"].removesuffix(".0").lstrip("0") for row in table.rows]
    rows = zip(table.rows, numbers, strict=True)
    return replace(table, rows=tuple({**row, "Image": number} for row, number in rows))


def _case(image: Path, masks: tuple[Path, ...], row: dict[str, str]) -> RawCase | Refusal:
    label = LABELS.get(row["Type"].lower())
    if not image.stem.isdecimal():
        return Refusal(Code.DATA_REFUSED, image, "is not named like 000001.png")
    if label is None:
        return Refusal(Code.DATA_REFUSED, image, f"has the unknown class {row['Type']!r}")
    return RawCase(image.stem, label, image.stem, image, masks)


ADAPTER = Adapter(
    name="yap2018",
    title="Yap2018",
    release=Release(
        classes={"benign": 109, "malignant": 54},
        patients=163,
        paper="doi:10.1109/JBHI.2017.2731873",
        download="on request from the authors (the paper names the page)",
        terms="by signed agreement: never redistribute it, nor a store made from it",
    ),
    read=read,
)
