"""The releases: each layout with its quirks, on faithful copies and on the real subsets."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import openpyxl
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation

from evaluator.errors import BusbenchError
from harness.datasets import ADAPTERS
from harness.prepare import CasesRefusedError, prepare
from harness.store import Case, CaseStore

GREY = np.random.RandomState(0).randint(1, 256, (40, 60)).astype(np.uint8)
MASK = np.zeros((40, 60), np.bool_)
MASK[10:20, 20:40] = True
NAMES = ("busi", "busbra", "bus-uc", "bus-uclm", "yap2018", "breast", "phantom", "generic")


def save(path: Path, pixels: NDArray[np.generic]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def by_source(store: CaseStore) -> dict[str, Case]:
    return {case.source_image: case for case in store.cases}


def test_the_names_are_fixed_and_every_release_is_described() -> None:
    assert tuple(sorted(ADAPTERS)) == tuple(sorted(NAMES))
    for name, adapter in ADAPTERS.items():
        assert adapter.name == name
        assert all((adapter.title, adapter.release.terms, adapter.release.download))
    stated = {name: sum(ADAPTERS[name].release.classes.values()) for name in NAMES[:6]}
    assert stated == {
        **{"busi": 780, "busbra": 1875, "bus-uc": 811},
        **{"bus-uclm": 683, "yap2018": 163, "breast": 256},
    }


# --- BUSI ------------------------------------------------------------------------------------


def make_busi(root: Path) -> Path:
    rgb = np.repeat(GREY[..., None], 3, axis=2)
    other = np.roll(MASK, 12, axis=0)
    rgba = np.dstack([*[other.astype(np.uint8) * 255] * 3, np.full_like(GREY, 255)])
    save(root / "benign" / "benign (1).png", rgb)
    save(root / "benign" / "benign (1)_mask.png", MASK)
    save(root / "benign" / "benign (1)_mask_1.png", rgba)
    save(root / "benign" / "benign (10).png", rgb[::-1])
    save(root / "benign" / "benign (10)_mask.png", MASK[::-1])
    save(root / "malignant" / "malignant (1).png", rgb)
    save(root / "malignant" / "malignant (1)_mask.png", MASK)
    save(root / "normal" / "normal (1).png", rgb)
    save(root / "normal" / "normal (1)_mask.png", np.zeros_like(rgb))
    (root / ".DS_Store").write_bytes(b"litter")
    return root


def test_busi_masks_are_united_and_no_id_tells_the_class(tmp_path: Path) -> None:
    make_busi(tmp_path / "raw" / "Dataset_BUSI_with_GT")
    store = prepare("busi", tmp_path / "raw", tmp_path / "store").store
    assert store.info.classes == {"benign": 2, "malignant": 1, "normal": 1}
    assert store.info.patients is None
    for case in store.cases:
        assert re.fullmatch(r"busi_[0-9a-f]{10}", case.case_id)
    cases = by_source(store)
    two = cases["Dataset_BUSI_with_GT/benign/benign (1).png"]
    assert np.array_equal(store.mask(two.case_id), MASK | np.roll(MASK, 12, axis=0))
    assert two.source_mask.endswith("benign (1)_mask_1.png")
    assert two.repairs == "mask: opaque alpha channel dropped"


def test_no_busi_id_can_be_guessed_from_its_780_names(tmp_path: Path) -> None:
    """The first image of each class is one image: name and image both enter the id."""
    make_busi(tmp_path / "raw")
    store = prepare("busi", tmp_path / "raw", tmp_path / "store").store
    classes = ADAPTERS["busi"].release.classes
    names = [f"{k} ({i})" for k, count in classes.items() for i in range(1, count + 1)]
    guesses = {f"busi_{hashlib.sha256(name.encode()).hexdigest()[:10]}" for name in names}
    assert guesses.isdisjoint(case.case_id for case in store.cases)
    again = prepare("busi", tmp_path / "raw", tmp_path / "again").store
    assert [case.case_id for case in again.cases] == [case.case_id for case in store.cases]


def test_a_busi_image_in_the_folder_of_another_class_is_refused(tmp_path: Path) -> None:
    root = make_busi(tmp_path / "raw")
    for name in ("malignant (1).png", "malignant (1)_mask.png"):
        (root / "malignant" / name).rename(root / "benign" / name)
    with pytest.raises(CasesRefusedError, match=r"malignant \(1\)\.png lies in benign"):
        prepare("busi", root, tmp_path / "store")


def test_busi_masks_and_images_without_partner_are_refused(tmp_path: Path) -> None:
    root = make_busi(tmp_path / "raw")
    (root / "normal" / "normal (1)_mask.png").unlink()
    (root / "benign" / "benign (10).png").unlink()
    with pytest.raises(CasesRefusedError) as caught:
        prepare("busi", root, tmp_path / "store")
    said = [refused.message for refused in caught.value.refused]
    assert any("benign (10)_mask.png is a mask without an image" in line for line in said)
    assert any("normal (1).png has no mask" in line for line in said)


# --- BUS-UC ----------------------------------------------------------------------------------


def make_bus_uc(root: Path) -> Path:
    """256 x 256 files; both classes share base names, numbers have gaps, `All` repeats them."""
    square = np.random.RandomState(1).randint(1, 256, (4, 256, 256)).astype(np.uint8)
    lesion = np.zeros((256, 256), np.uint8)
    lesion[50:90, 60:120] = 255
    names = [("Benign", "001"), ("Benign", "007"), ("Malignant", "001"), ("Malignant", "453")]
    for image, (folder, name) in zip(square, names, strict=True):
        for place in (folder, "All"):
            save(root / place / "images" / f"{name}.png", image)
            save(root / place / "masks" / f"{name}.png", lesion)
    return root


@pytest.mark.parametrize("nested", ["", "BUS_UC", "BUS_UC/BUS_UC/BUS_UC"])
def test_bus_uc_keeps_apart_what_shares_a_name(tmp_path: Path, nested: str) -> None:
    make_bus_uc(tmp_path / "raw" / nested)
    store = prepare("bus-uc", tmp_path / "raw", tmp_path / "store").store
    assert store.info.classes == {"benign": 2, "malignant": 2}
    assert all(re.fullmatch(r"busuc_[0-9a-f]{10}", case.case_id) for case in store.cases)
    sources = [case.source_image for case in store.cases]
    assert sum(source.endswith("001.png") for source in sources) == 2
    assert not any("All" in source for source in sources)
    assert all(case.patient is None and case.repairs == "" for case in store.cases)
    again = prepare("bus-uc", tmp_path / "raw" / nested, tmp_path / "again").store
    assert {case.case_id for case in again.cases} == {case.case_id for case in store.cases}


def test_two_copies_of_a_release_in_one_folder_are_refused(tmp_path: Path) -> None:
    make_bus_uc(tmp_path / "raw" / "one")
    make_bus_uc(tmp_path / "raw" / "two")
    with pytest.raises(BusbenchError, match="contains 2 folders") as caught:
        prepare("bus-uc", tmp_path / "raw", tmp_path / "store")
    assert caught.value.code == "raw-missing"


# --- Yap2018 ---------------------------------------------------------------------------------


def make_yap(root: Path, numbers: tuple[object, ...] = ("000001", "000004", "310")) -> Path:
    """Numbers with gaps; `Image` is text; masks are 1 bit, some 8 bits of 0 and 255."""
    for index, file in enumerate((1, 4, 310)):
        save(root / "original" / f"{file:06d}.png", np.roll(GREY, index))
        mask = MASK if index else MASK.astype(np.uint8) * 255
        save(root / "GT" / f"{file:06d}.png", mask)
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    assert sheet is not None
    sheet.title = "Hoja1"
    sheet.append(["Image", "Type", "Diagnosis"])
    for number, kind in zip(numbers, ("Benign", "Malignant", "Benign "), strict=True):
        sheet.append([number, kind, "Fibroadenoma"])
    workbook.save(root / "DatasetB.xlsx")
    return root


@pytest.mark.parametrize("above", [False, True])
def test_yap2018_classes_come_from_the_sheet(tmp_path: Path, above: bool) -> None:
    root = make_yap(tmp_path / "raw" / "BUS")
    if above:
        (root / "DatasetB.xlsx").rename(tmp_path / "raw" / "DatasetB.xlsx")
    store = prepare("yap2018", tmp_path / "raw", tmp_path / "store").store
    found = [(case.case_id, case.label, case.patient) for case in store.cases]
    assert found == [
        *(("000001", "benign", "000001"), ("000004", "malignant", "000004")),
        ("000310", "benign", "000310"),
    ]
    for case in store.cases:
        assert np.array_equal(store.mask(case.case_id), MASK)


@pytest.mark.parametrize("numbers", [(1, 4, 310), ("1", "4", "310"), (1.0, 4.0, 310.0)])
def test_yap2018_numbers_may_be_written_in_any_way(
    tmp_path: Path, numbers: tuple[object, ...]
) -> None:
    root = make_yap(tmp_path / "raw", numbers)
    assert prepare("yap2018", root, tmp_path / "store").store.info.cases == 3


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        (("1", "4", "311"), r"000310\.png has no row in DatasetB\.xlsx"),
        (("1", "1", "310"), r"000001\.png has 2 rows in DatasetB\.xlsx that disagree"),
    ],
)
def test_a_yap2018_sheet_that_does_not_fit_is_refused(
    tmp_path: Path, numbers: tuple[str, ...], expected: str
) -> None:
    root = make_yap(tmp_path / "raw", numbers)
    with pytest.raises(CasesRefusedError) as caught:
        prepare("yap2018", root, tmp_path / "store")
    assert any(re.search(expected, refused.message) for refused in caught.value.refused)


@pytest.mark.parametrize("content", [None, b"no workbook"])
def test_a_missing_or_broken_sheet_is_refused(tmp_path: Path, content: bytes | None) -> None:
    sheet = make_yap(tmp_path / "raw") / "DatasetB.xlsx"
    sheet.unlink()
    if content is not None:
        sheet.write_bytes(content)
    with pytest.raises(BusbenchError, match=r"DatasetB\.xlsx is") as caught:
        prepare("yap2018", tmp_path / "raw", tmp_path / "store")
    assert caught.value.code == "raw-missing"


# --- BUS-UCLM --------------------------------------------------------------------------------


def make_bus_uclm(root: Path) -> Path:
    rgb = np.repeat(GREY[..., None], 3, axis=2)
    zero = np.zeros_like(MASK, np.uint8)
    lit = MASK.astype(np.uint8) * 255
    small = np.dstack([*[GREY[:30]] * 3, np.full((30, 60), 255, np.uint8)])
    save(root / "images" / "ALWI_000.png", rgb)
    save(root / "masks" / "ALWI_000.png", np.dstack([zero, lit, zero]))
    save(root / "images" / "ALWI_001.png", rgb)
    save(root / "masks" / "ALWI_001.png", np.dstack([zero, zero, zero]))
    save(root / "images" / "HESN_000.png", small)
    save(root / "masks" / "HESN_000.png", np.dstack([lit, zero, zero]))
    (root / "INFO.csv").write_text(
        "\ufeffImage;Resolution;Label;Doppler;Marks;Combined\n"
        "ALWI_000.png;60x40;Benign;No;No;No\n"
        "ALWI_001.png;60x40;Normal;No;No;No\n"
        "HESN_000.png;60x40;Malignant;No;Yes;No\n",
        encoding="utf-8",
    )
    return root


def test_bus_uclm_is_read_with_its_colours_sizes_and_byte_order_mark(tmp_path: Path) -> None:
    make_bus_uclm(tmp_path / "raw" / "BUS-UCLM")
    store = prepare("bus-uclm", tmp_path / "raw", tmp_path / "store").store
    found = {case.case_id: (case.label, case.patient) for case in store.cases}
    assert found == {
        "ALWI_000": ("benign", "ALWI"),
        "ALWI_001": ("normal", "ALWI"),
        "HESN_000": ("malignant", "HESN"),
    }
    assert store.mask("HESN_000").shape == (30, 60)
    repairs = {case.case_id: case.repairs for case in store.cases}
    assert repairs["ALWI_000"] == repairs["ALWI_001"] == ""
    assert repairs["HESN_000"].split("; ") == [
        "opaque alpha channel dropped",
        "mask: 60 x 40 scaled to 60 x 30",
        "metadata say 60 x 40 pixels, the file has 60 x 30",
    ]


def test_strict_refuses_what_would_be_repaired_by_name(tmp_path: Path) -> None:
    root = make_bus_uclm(tmp_path / "raw")
    with pytest.raises(
        CasesRefusedError, match=r"HESN_000\.png would have to be repaired"
    ) as caught:
        prepare("bus-uclm", root, tmp_path / "store", strict=True)
    assert len(caught.value.refused) == 1
    assert caught.value.repaired == {}
    result = prepare("bus-uclm", root, tmp_path / "store", strict=True, skip_refused=True)
    assert [case.case_id for case in result.store.cases] == ["ALWI_000", "ALWI_001"]
    assert result.repaired == {}


def test_a_bus_uclm_mask_in_another_class_s_colour_is_on_record(tmp_path: Path) -> None:
    table = make_bus_uclm(tmp_path / "raw") / "INFO.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("Benign", "Malignant"), "utf-8")
    store = prepare("bus-uclm", tmp_path / "raw", tmp_path / "store").store
    case = by_source(store)["images/ALWI_000.png"]
    assert case.label == "malignant"
    assert "coloured as benign, class malignant taken" in case.repairs


def test_a_row_that_is_there_twice_is_fine_where_both_agree(tmp_path: Path) -> None:
    table = make_bus_uclm(tmp_path / "raw") / "INFO.csv"
    row = "ALWI_000.png;60x40;Benign;No;No;No\n"
    table.write_text(table.read_text(encoding="utf-8") + row, "utf-8")
    assert prepare("bus-uclm", tmp_path / "raw", tmp_path / "store").store.info.cases == 3
    table.write_text(table.read_text(encoding="utf-8") + row.replace("Benign", "Normal"), "utf-8")
    with pytest.raises(CasesRefusedError, match=r"ALWI_000\.png has 3 rows in INFO\.csv"):
        prepare("bus-uclm", tmp_path / "raw", tmp_path / "other")


# --- the real subsets ------------------------------------------------------------------------


@pytest.mark.slow
def test_real_busi_prepares_with_its_quirks_on_record(real_data: Path, tmp_path: Path) -> None:
    store = prepare("busi", real_data / "Dataset_BUSI_with_GT", tmp_path / "store").store
    assert store.info.classes == {"benign": 76, "malignant": 61, "normal": 38}
    repairs = {Path(case.source_image).stem: case.repairs for case in store.cases if case.repairs}
    assert {name for name, repair in repairs.items() if "specks" in repair} == {
        *("benign (183)", "benign (54)", "benign (98)", "malignant (1)"),
        *("malignant (53)", "malignant (68)", "malignant (73)"),
    }
    assert {name for name, repair in repairs.items() if "alpha" in repair} == {
        "benign (4)",
        "benign (54)",
    }
    assert {name for name, repair in repairs.items() if "coloured" in repair} == {
        *("benign (173)", "benign (6)", "malignant (196)", "malignant (65)")
    }
    three = next(case for case in store.cases if case.source_image.endswith("benign (195).png"))
    assert three.source_mask.count("; ") == 2


@pytest.mark.slow
def test_real_bus_uclm_prepares_and_stretched_masks_lie_on_dark_lesions(
    real_data: Path, tmp_path: Path
) -> None:
    store = prepare("bus-uclm", real_data / "BUS-UCLM", tmp_path / "store").store
    assert store.info.classes == {"benign": 21, "malignant": 45, "normal": 58}
    assert store.info.patients == 13
    scaled = [case for case in store.cases if "scaled" in case.repairs]
    assert [case.case_id for case in scaled] == [f"HESN_{number:03d}" for number in range(13)]
    for case_id in ("HESN_003", "HESN_004", "HESN_005"):
        image, mask = store.image(case_id).astype(float), store.mask(case_id)
        around = binary_dilation(mask, iterations=10) & ~binary_dilation(mask, iterations=2)
        assert image[mask].mean() < image[around].mean() - 20
