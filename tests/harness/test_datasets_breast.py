"""BrEaST on a faithful copy: a clinical xlsx, grey images with alpha, each mask one lesion."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from numpy.typing import NDArray
from PIL import Image

from evaluator.errors import BusbenchError
from harness.datasets import ADAPTERS
from harness.prepare import CasesRefusedError, prepare

SHAPE = (300, 400)  # at 0.007 cm a pixel: 28 x 21 mm
SHEET = "BrEaST-Lesions-USG clinical dat"  # Excel's limit of 31 characters
TABLE = "BrEaST-Lesions-USG-clinical-data-Dec-15-2023.xlsx"
FOLDER = "BrEaST-Lesions_USG-images_and_masks"
HEADS = (
    *("CaseID", "Image_filename", "Mask_tumor_filename", "Mask_other_filename", "Pixel_size"),
    *("Age", "Tissue_composition", "Signs", "BIRADS", "Verification", "Diagnosis"),
    "Classification",
)
Row = dict[str, object]


def lesion(top: int, left: int, size: int = 40) -> NDArray[np.bool_]:
    mask = np.zeros(SHAPE, np.bool_)
    mask[top : top + size, left : left + size] = True
    return mask


MASKS = {
    "case001_tumor": lesion(40, 40),
    "case002_tumor": lesion(60, 60),
    "case002_other1": lesion(60, 100, 30),  # touches the tumour
    "case002_other2": lesion(200, 300, 20),
    "case066_tumor": lesion(10, 200, 90),
    "case066_other1": lesion(40, 230, 20),  # inside the tumour
}


def rows() -> list[Row]:
    """The rows of the table, with numbers as numbers."""
    blank: Row = dict.fromkeys(HEADS, "not available")
    cells = [
        (1, "case001_tumor.png", None, 0.007, "3", "benign"),
        (2, "case002_tumor.png", "case002_other1.png&case002_other2.png", 0.0083, "4a", "benign"),
        (45, None, None, 0.007, "1", "normal"),
        (66, "case066_tumor.png", "case066_other1.png", 0.0065, "5", "malignant"),
    ]
    return [
        {
            **blank,
            **{"CaseID": number, "Image_filename": f"case{number:03d}.png"},
            **{"Mask_tumor_filename": tumor, "Mask_other_filename": other},
            **{"Pixel_size": size, "BIRADS": birads, "Classification": label},
        }
        for number, tumor, other, size, birads, label in cells
    ]


def write_table(path: Path, made: list[Row], heads: Mapping[str, str] | None = None) -> None:
    workbook = openpyxl.Workbook()
    workbook.active.title = SHEET
    workbook.active.append([(heads or {}).get(head, head) for head in HEADS])
    for row in made:
        workbook.active.append([row[head] for head in HEADS])
    workbook.save(path)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A copy of the release: archive unpacked beside the table."""
    root = tmp_path / "raw"
    (root / FOLDER).mkdir(parents=True)
    for row in rows():
        grey = np.random.RandomState(int(str(row["CaseID"]))).randint(1, 256, SHAPE)
        pixels = np.dstack([grey.astype(np.uint8), np.full(SHAPE, 255, np.uint8)])
        Image.fromarray(pixels, mode="LA").save(root / FOLDER / str(row["Image_filename"]))
    for name, mask in MASKS.items():
        Image.fromarray(mask.astype(np.uint8) * 255).save(root / FOLDER / f"{name}.png")
    write_table(root / TABLE, rows())
    (root / f"~${TABLE}").write_bytes(b"a lock of Excel")
    litter = root / "__MACOSX" / FOLDER
    litter.mkdir(parents=True)
    (litter / "._case001.png").write_bytes(b"litter")
    return root


def refusals(raw: Path) -> str:
    with pytest.raises(CasesRefusedError) as caught:
        prepare("breast", raw, raw.parent / "store")
    return " ".join(refused.message for refused in caught.value.refused)


def test_no_lesion_class_patient_or_millimetre_of_breast_is_lost(raw: Path) -> None:
    result = prepare("breast", raw, raw.parent / "store")
    store = result.store
    assert store.info.classes == {"benign": 2, "malignant": 1, "normal": 1}
    assert store.info.patients == 4
    assert [case.case_id for case in store.cases] == ["case001", "case002", "case045", "case066"]
    assert [case.birads for case in store.cases] == ["3", "4a", "1", "5"]
    assert [case.spacing for case in store.cases] == [
        *((0.07, 0.07), (0.083, 0.083), (0.07, 0.07), (0.065, 0.065))
    ]
    assert [case.lesions for case in store.cases] == [1, 3, 0, 2]
    for case in store.cases:
        own = [mask for name, mask in MASKS.items() if name.startswith(case.case_id)]
        union = np.logical_or.reduce([np.zeros(SHAPE, np.bool_), *own])
        assert np.array_equal(store.mask(case.case_id), union)
        numbers = store.lesions(case.case_id)
        for number, mask in enumerate(own, start=1):
            found = numbers == number
            assert found.any()
            assert not (found & ~mask).any()
    assert np.array_equal(store.lesions("case066") == 2, MASKS["case066_other1"])
    assert all(case.repairs == "opaque alpha channel dropped" for case in store.cases)
    stated = ADAPTERS["breast"].release
    assert (dict(stated.classes), stated.patients) == (
        {"benign": 154, "malignant": 98, "normal": 4},
        256,
    )


@pytest.mark.parametrize(
    ("separator", "head", "number"),
    [
        ("&", "Pixel_size", "case{:03d}".format),
        (" & ", "Pixel_size (cm)", int),
        (";", "PIXEL_SIZE (CM)", float),
        (", ", "pixel_size(cm)", "{:03d}".format),
    ],
)
def test_no_spelling_of_the_table_changes_the_store(
    raw: Path, separator: str, head: str, number: Callable[[int], object]
) -> None:
    expected = prepare("breast", raw, raw.parent / "store").store.info.digest
    made = rows()
    for row in made:
        row["CaseID"] = number(int(str(row["CaseID"])))
        row["Mask_other_filename"] = str(row["Mask_other_filename"] or "").replace("&", separator)
        row["Image_filename"] = str(row["Image_filename"]).upper()
    write_table(raw / TABLE, [*made, dict.fromkeys(HEADS)], {"Pixel_size": head})
    (raw / TABLE).rename(raw / FOLDER / "clinical.xlsx")
    assert prepare("breast", raw, raw.parent / "other").store.info.digest == expected


@pytest.mark.parametrize(
    ("head", "value", "expected"),
    [
        ("CaseID", 7, "case001.png is of patient 1 by its name but of 7"),
        ("Image_filename", "case007.png", "case007.png is named in .* but is not there"),
        ("Mask_tumor_filename", "case001_tumour.png", "case001_tumour.png is named in"),
        ("Mask_tumor_filename", "case002_tumor.png", "case002_tumor.png is named as a mask of"),
        ("Mask_tumor_filename", None, r"case001_tumor.png has no row in"),
        ("Mask_other_filename", "case001_tumor.png", "case001_tumor.png is named twice"),
        ("Pixel_size", None, "case001.png has the pixel size ''"),
        ("Pixel_size", 0, "case001.png has the pixel size '0'"),
        ("Pixel_size", -0.01, "case001.png has the pixel size '-0.01'"),
        ("Pixel_size", "inf", "case001.png has the pixel size 'inf'"),
        ("Pixel_size", "nan", "case001.png has the pixel size"),
        ("Pixel_size", "unknown", "case001.png has the pixel size 'unknown'"),
        ("Pixel_size", 0.7, "case001.png would be 2800 x 2100 mm"),
        ("Classification", "cyst", "case001.png has the unknown class 'cyst'"),
        ("Classification", "normal", "case001_tumor.png marks 1600 pixels in a case of class norm"),
    ],
)
def test_no_row_that_contradicts_the_files_is_taken(
    raw: Path, head: str, value: object, expected: str
) -> None:
    first, *others = rows()
    write_table(raw / TABLE, [{**first, head: value}, *others])
    assert re.search(expected, refusals(raw))


@pytest.mark.parametrize("name", ["case045_tumor.png", "case007.png", "scan.png"])
def test_no_image_without_a_row_is_passed_over(raw: Path, name: str) -> None:
    Image.fromarray(MASKS["case001_tumor"]).save(raw / FOLDER / name)
    assert f"{name} has no row in {TABLE}" in refusals(raw)


def test_no_lesion_without_its_mask_is_a_normal_case(raw: Path) -> None:
    first, *others = rows()
    (raw / FOLDER / "case001_tumor.png").unlink()
    write_table(raw / TABLE, [{**first, "Mask_tumor_filename": None}, *others])
    assert "case001.png has no mask" in refusals(raw)


@pytest.mark.parametrize(
    ("heads", "expected"),
    [
        ({"Pixel_size": "Pixel_size (mm)"}, "no column Pixel_size.*must be cm"),
        ({"Pixel_size": "size"}, "no column Pixel_size"),
        ({"Age": "Pixel_size (cm)"}, "Pixel_size, or several"),
        ({"Classification": "Class"}, "has no column Classification"),
    ],
)
def test_no_table_with_another_unit_or_column_is_read(
    raw: Path, heads: dict[str, str], expected: str
) -> None:
    write_table(raw / TABLE, rows(), heads)
    with pytest.raises(BusbenchError, match=expected) as caught:
        prepare("breast", raw, raw.parent / "store")
    assert caught.value.code == "raw-missing"


@pytest.mark.parametrize("tables", [0, 2])
def test_no_table_is_guessed(raw: Path, tables: int) -> None:
    if tables:
        write_table(raw / "clinical-old.xlsx", rows())
    else:
        (raw / TABLE).unlink()
    with pytest.raises(BusbenchError, match=f"contains {tables} clinical tables") as caught:
        prepare("breast", raw, raw.parent / "store")
    assert caught.value.code == "raw-missing"


def test_two_copies_of_breast_in_one_folder_are_refused(raw: Path) -> None:
    (raw / "again").mkdir()
    data = (raw / FOLDER / "case001.png").read_bytes()
    (raw / "again" / "case001.png").write_bytes(data)
    with pytest.raises(BusbenchError, match="two files of one name"):
        prepare("breast", raw, raw.parent / "store")
