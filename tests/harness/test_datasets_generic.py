"""One's own dataset: every format whole, every bad file named, and a new layout in one file."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image

from evaluator.errors import BusbenchError
from harness.datasets import adapter
from harness.datasets.base import RefusedError
from harness.datasets.decode import decode
from harness.prepare import CasesRefusedError, prepare

GREY = np.random.RandomState(0).randint(0, 256, (40, 60)).astype(np.uint8)
MASK = np.zeros((40, 60), np.uint8)
MASK[10:20, 20:40] = 255
DOC = Path(__file__).resolve().parents[2] / "docs" / "add-a-dataset.md"


def save(path: Path, pixels: NDArray[np.uint8]) -> Path:
    """Write a file in the format of its name, by the library that reads that format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".png", ".jpg", ".bmp", ".tif"):
        Image.fromarray(pixels).save(path)
    else:
        image = sitk.GetImageFromArray(pixels)
        image.SetSpacing((0.2, 0.1))
        sitk.WriteImage(image, str(path))
    return path


def table(root: Path, *rows: str, header: str = "image,class,mask,patient") -> Path:
    (root / "cases.csv").write_text("\n".join([header, *rows]) + "\n")
    return root


FORMATS = [".png", ".bmp", ".tif", ".dcm", ".nii", ".nii.gz", ".mha", ".nrrd"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_lossless_format_gives_its_very_pixels(tmp_path: Path, suffix: str) -> None:
    save(tmp_path / "raw" / f"i{suffix}", GREY)
    save(tmp_path / "raw" / f"m{suffix}", MASK)
    table(tmp_path / "raw", f"i{suffix},benign,m{suffix},anna")
    store = prepare("generic", tmp_path / "raw", tmp_path / "store").store
    (case,) = store.cases
    assert np.array_equal(store.image(case.case_id), GREY)
    assert np.array_equal(store.mask(case.case_id), MASK > 0)
    assert (case.patient, case.label, case.repairs) == ("anna", "benign", "")
    medical = suffix not in (".png", ".bmp", ".tif")
    assert case.spacing == (pytest.approx((0.1, 0.2)) if medical else None)


def test_a_jpeg_mask_is_repaired_to_a_sharp_one(tmp_path: Path) -> None:
    save(tmp_path / "raw" / "i.jpg", GREY)
    save(tmp_path / "raw" / "m.jpg", MASK)
    table(tmp_path / "raw", "i.jpg,benign,m.jpg,")
    store = prepare("generic", tmp_path / "raw", tmp_path / "store").store
    (case,) = store.cases
    assert np.array_equal(store.mask(case.case_id), MASK > 0)
    assert "soft borders" in case.repairs
    assert case.patient is None


def test_dicom_without_a_suffix_is_known_by_its_content(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", GREY).rename(tmp_path / "IM0001")
    assert np.array_equal(decode(path).pixels, GREY)


def test_monochrome1_is_black_where_it_looks_black(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", GREY)
    path.write_bytes(path.read_bytes().replace(b"MONOCHROME2", b"MONOCHROME1"))
    assert np.array_equal(decode(path).pixels, 255 - GREY)  # SimpleITK inverts it


def test_sixteen_bits_are_scaled_and_on_record(tmp_path: Path) -> None:
    wide = (GREY.astype(np.uint16) * 16) + 5
    Image.fromarray(wide).save(tmp_path / "a.png")
    sitk.WriteImage(sitk.GetImageFromArray(wide), str(tmp_path / "a.dcm"))
    for name in ("a.png", "a.dcm"):
        decoded = decode(tmp_path / name)
        assert np.abs(decoded.pixels.astype(int) - GREY).max() <= 1
        assert "scaled to 0 to 255" in decoded.notes[0]


def test_colour_dicom_keeps_its_channels(tmp_path: Path) -> None:
    rgb = np.dstack([GREY, GREY // 2, GREY // 3])
    sitk.WriteImage(sitk.GetImageFromArray(rgb, isVector=True), str(tmp_path / "a.dcm"))
    assert np.array_equal(decode(tmp_path / "a.dcm").pixels, rgb)


def test_exif_orientation_is_followed_and_on_record(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GREY).save(tmp_path / "a.jpg", exif=exif)
    decoded = decode(tmp_path / "a.jpg")
    assert decoded.pixels.shape == (60, 40)
    assert "EXIF" in decoded.notes[0]


@pytest.mark.parametrize("suffix", [*FORMATS, ".jpg"])
def test_a_truncated_file_of_any_format_is_refused(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"a{suffix}", GREY)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    with pytest.raises(RefusedError) as caught:
        decode(path)
    assert caught.value.refusal.code == "image-unreadable"
    assert caught.value.refusal.file == path


@pytest.mark.parametrize("suffix", [*FORMATS, ".jpg"])
def test_an_empty_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    path.touch()
    with pytest.raises(RefusedError, match="cannot be decoded"):
        decode(path)


def volume(path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.stack([GREY, GREY])), str(path))


def film(path: Path) -> None:
    frame = Image.fromarray(GREY)
    frame.save(path, save_all=True, append_images=[Image.fromarray(MASK)])


def giant(path: Path) -> None:
    Image.new("1", (9000, 10)).save(path)


def giant_volume(path: Path) -> None:
    sitk.WriteImage(sitk.Image([9000, 10], sitk.sitkUInt8), str(path))


@pytest.mark.parametrize(
    ("make", "name", "expected"),
    [
        (volume, "a.nii.gz", "more than one plane"),
        (volume, "a.mha", "more than one plane"),
        (film, "a.tif", "more than one frame"),
        (giant, "a.png", "more than 8192"),
        (giant_volume, "a.nii", "more than 8192"),
    ],
)
def test_what_is_no_single_image_is_refused(
    tmp_path: Path, make: Callable[[Path], None], name: str, expected: str
) -> None:
    make(tmp_path / name)
    with pytest.raises(RefusedError, match=expected):
        decode(tmp_path / name)


def test_several_masks_and_none_are_read_from_the_table(tmp_path: Path) -> None:
    other = np.zeros_like(MASK)
    other[30:38, 5:15] = 255
    for name, pixels in (("i.png", GREY), ("n.png", GREY), ("a.png", MASK), ("b.png", other)):
        save(tmp_path / "raw" / name, pixels)
    table(tmp_path / "raw", "i.png,malignant,a.png; b.png,1", "n.png,Normal,,1")
    store = prepare("generic", tmp_path / "raw", tmp_path / "store").store
    masks = {case.label: store.mask(case.case_id) for case in store.cases}
    assert np.array_equal(masks["malignant"], (MASK | other) > 0)
    assert not masks["normal"].any()


@pytest.mark.parametrize(
    ("row", "code", "expected"),
    [
        ("i.png,unsure,m.png,,,", "data-refused", "unknown class 'unsure'"),
        ("x.png,benign,m.png,,,", "mask-missing", "x.png is named in cases.csv but is not there"),
        ("i.png,benign,x.png,,,", "mask-missing", "x.png is named in cases.csv but is not there"),
        ("i.png,benign,,,,", "mask-missing", "i.png has no mask"),
        ("i.png,benign,m.png,,0.1,", "data-refused", "no pair of millimetres"),
        ("i.png,benign,m.png,,0.1,-1", "data-refused", "no pair of millimetres"),
        ("i.png,benign,m.png,,nan,0.1", "data-refused", "no pair of millimetres"),
        ("i.png,benign,m.png,../../x,,", "data-refused", "unusable case id"),
    ],
)
def test_a_bad_row_is_refused(tmp_path: Path, row: str, code: str, expected: str) -> None:
    save(tmp_path / "raw" / "i.png", GREY)
    save(tmp_path / "raw" / "m.png", MASK)
    header = "image,class,mask,case_id,spacing_row_mm,spacing_col_mm"
    table(tmp_path / "raw", row, header=header)
    with pytest.raises(CasesRefusedError, match=re.escape(expected)) as caught:
        prepare("generic", tmp_path / "raw", tmp_path / "store")
    assert caught.value.code == code


def test_a_file_outside_the_folder_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "secret.png", GREY)
    save(tmp_path / "raw" / "m.png", MASK)
    table(tmp_path / "raw", "../secret.png,benign,m.png,")
    with pytest.raises(CasesRefusedError, match="lies outside"):
        prepare("generic", tmp_path / "raw", tmp_path / "store")


def test_a_table_without_its_columns_or_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    table(tmp_path / "raw", header="file,class")
    with pytest.raises(BusbenchError, match="has no column image"):
        prepare("generic", tmp_path / "raw", tmp_path / "store")
    table(tmp_path / "raw")
    with pytest.raises(BusbenchError, match="contains no case"):
        prepare("generic", tmp_path / "raw", tmp_path / "store")
    (tmp_path / "raw" / "cases.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BusbenchError, match="neither UTF-8 nor UTF-16"):
        prepare("generic", tmp_path / "raw", tmp_path / "store")


def test_the_documented_file_adds_a_dataset(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", DOC.read_text(), re.DOTALL)
    mine = tmp_path / "my_dataset.py"
    mine.write_text(code)
    raw = tmp_path / "raw" / "nested"
    for name, mask in (("anna_1", MASK), ("berta_1", np.zeros_like(MASK))):
        save(raw / "scans" / f"{name}.png", GREY)
        save(raw / "masks" / f"{name}.png", mask)
    (raw / "labels.csv").write_text("file,finding\nanna_1.png,B\nberta_1.png,N\n")
    result = prepare(str(mine), tmp_path / "raw", tmp_path / "store")
    assert result.store.info.dataset == "my-dataset"
    assert result.store.info.classes == dict(result.release.classes)
    assert result.store.info.patients == result.release.patients
    assert [case.case_id for case in result.store.cases] == ["anna_1", "berta_1"]
    (raw / "labels.csv").write_text("file,finding\nanna_1.png,X\nberta_1.png,N\n")
    with pytest.raises(CasesRefusedError, match=r"anna_1\.png has the unknown class 'X'"):
        prepare(str(mine), tmp_path / "raw", tmp_path / "other")


@pytest.mark.parametrize("code", ["", "ADAPTER = 3"])
def test_a_file_without_an_adapter_is_refused(tmp_path: Path, code: str) -> None:
    (tmp_path / "x.py").write_text(code)
    with pytest.raises(BusbenchError, match="defines no ADAPTER"):
        adapter(str(tmp_path / "x.py"))
    with pytest.raises(BusbenchError, match="is not a Python file"):
        adapter(str(tmp_path / "y.py"))


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_no_row_that_ends_early_becomes_an_unknown_patient(tmp_path: Path, separator: str) -> None:
    rows = [["image", "class", "patient"], ["a.png", "benign", "1"], ["b.png", "benign"]]
    (tmp_path / "cases.csv").write_text("\n".join(map(separator.join, rows)))
    with pytest.raises(BusbenchError, match="row 3 has 2 of 3 columns"):
        list(adapter("generic").read(tmp_path))
