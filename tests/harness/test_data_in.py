"""One's own files as people have them: stored as they are meant, or refused, never changed unsaid.

Each test makes files whose truth is known, prepares them, and compares the store with the truth.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from evaluator.errors import BusbenchError, Code
from harness.audit import audit
from harness.datasets.patients import spelling
from harness.prepare import prepare
from harness.splits import freeze
from harness.store import CaseStore
from tests.support.dicom import write_dicom
from tests.support.image_files import png, tiff

SIZE = (60, 84)
ROWS, COLUMNS = np.indices(SIZE)
IMAGE = (ROWS * 2 + COLUMNS + 10 * np.sin(COLUMNS / 3)).clip(0, 250).astype(np.uint8)
LESION = ((ROWS - 20) / 9) ** 2 + ((COLUMNS - 50) / 14) ** 2 <= 1
SECOND = ((ROWS - 47) / 6) ** 2 + ((COLUMNS - 18) / 8) ** 2 <= 1

Bytes = NDArray[np.uint8]


def prepared(raw: Path, image: str, mask: str, text: str | None = None) -> CaseStore:
    """The store of the one case that lies in `raw`."""
    table = text or f"image,class,mask,case_id\n{image},benign,{mask},c0\n"
    (raw / "cases.csv").write_text(table)
    return prepare("generic", raw, raw.parent / "store").store


def require_true(make: Callable[[], CaseStore], lesion: NDArray[np.bool_] = LESION) -> None:
    """Stored as it is: the lesion exactly, the image up to its range of grey; or refused."""
    try:
        store = make()
    except BusbenchError as error:
        assert error.code in {Code.DATA_REFUSED, Code.IMAGE_UNREADABLE}, error
        return
    image, mask = store.image("c0"), store.mask("c0")
    assert np.array_equal(mask, lesion)
    assert np.corrcoef(image.ravel(), IMAGE.ravel())[0, 1] > 0.99
    assert len(np.unique(image)) > 100


# --- images ------------------------------------------------------------------------------------


def white_is_zero(path: Path, pixels: NDArray[Any]) -> None:
    tags = ImageFileDirectory_v2()
    tags[262] = 0
    Image.fromarray(pixels).save(path, tiffinfo=tags)


def inverted(pixels: NDArray[Any]) -> NDArray[Any]:
    return np.iinfo(pixels.dtype).max - pixels


def colour(pixels: NDArray[Any], alpha: int | None) -> NDArray[Any]:
    extra = [] if alpha is None else [np.full_like(pixels, alpha)]
    return np.dstack([pixels, pixels, pixels, *extra])


def channels(path: Path, planes: list[NDArray[Any]]) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.dstack(planes), isVector=True), str(path))


DEEP = IMAGE.astype(np.uint16) * 16
RAMP = np.repeat(np.arange(256)[:, None], 3, axis=1).astype(np.uint8)
SEEN = np.dstack([IMAGE, IMAGE * 0 + 255])
IMAGES: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "grey": ("png", lambda path: Image.fromarray(IMAGE).save(path)),
    "grey and alpha": ("png", lambda p: Image.fromarray(IMAGE).convert("LA").save(p)),
    "colour": ("png", lambda path: Image.fromarray(colour(IMAGE, None)).save(path)),
    "colour and alpha": ("png", lambda path: Image.fromarray(colour(IMAGE, 255)).save(path)),
    "hidden": ("png", lambda path: Image.fromarray(colour(IMAGE, 0)).save(path)),
    "nearly hidden": ("png", lambda path: Image.fromarray(colour(IMAGE, 20)).save(path)),
    "palette": ("png", lambda path: Image.fromarray(IMAGE).convert("P").save(path)),
    "16 bits": ("png", lambda path: Image.fromarray(DEEP).save(path)),
    "16 bits, colour": ("png", lambda path: cv2.imwrite(str(path), colour(DEEP, None))),
    "16 bits, alpha": ("png", lambda path: cv2.imwrite(str(path), colour(DEEP, 65535))),
    "16 bits, colour, tiff": ("tif", lambda path: cv2.imwrite(str(path), colour(DEEP, None))),
    "cmyk": ("tif", lambda p: Image.fromarray(colour(IMAGE, None)).convert("CMYK").save(p)),
    "fractions": ("tif", lambda path: Image.fromarray((IMAGE / 255).astype("f4")).save(path)),
    "negative numbers": (
        "tif",
        lambda path: Image.fromarray(IMAGE.astype(np.int32) * 8 - 1000).save(path),
    ),
    "white is zero": ("tif", lambda path: white_is_zero(path, IMAGE)),  # Pillow inverts it
    "white is zero, 16 bits": ("tif", lambda path: white_is_zero(path, inverted(DEEP))),
    "nearly black": ("png", lambda path: Image.fromarray(IMAGE // 32).save(path)),
    "one grey value": ("png", lambda path: Image.fromarray(IMAGE * 0 + 77).save(path)),
    "signed bytes": ("tif", lambda p: p.write_bytes(tiff((IMAGE - 128).view(np.int8), 1))),
    "32 bits": ("tif", lambda p: p.write_bytes(tiff(IMAGE.astype(np.uint32) << 24, 1))),
    "palette and alpha": ("tif", lambda p: p.write_bytes(tiff(SEEN, 3, palette=RAMP, alpha=True))),
    "16 bits, transparent": ("png", lambda p: p.write_bytes(png(DEEP, transparency=b"\x01\0"))),
    "two channels": ("mha", lambda path: channels(path, [IMAGE, IMAGE])),
    "colour and alpha, 16 bits": ("mha", lambda path: channels(path, [DEEP] * 3 + [DEEP * 0 - 1])),
}


def with_number(number: float) -> Callable[[Path], Any]:
    values = (IMAGE / 255).astype(np.float32)
    values[3, 4] = number
    return lambda path: Image.fromarray(values).save(path)


IMAGES |= {str(number): ("tif", with_number(number)) for number in (np.nan, np.inf, -np.inf)}
ORIENTATIONS = range(1, 9)


@pytest.mark.parametrize("kind", IMAGES)
def test_no_image_is_stored_as_anything_else(tmp_path: Path, kind: str) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    suffix, save = IMAGES[kind]
    save(raw / f"i.{suffix}")
    Image.fromarray(LESION).save(raw / "m.png")
    require_true(lambda: prepared(raw, f"i.{suffix}", "m.png"))


KEPT = ("grey", "colour", "palette", "16 bits", "16 bits, colour", "16 bits, alpha", "fractions")


@pytest.mark.parametrize("kind", KEPT)
def test_no_sound_image_is_refused(tmp_path: Path, kind: str) -> None:
    suffix, save = IMAGES[kind]
    save(tmp_path / f"i.{suffix}")
    Image.fromarray(LESION).save(tmp_path / "m.png")
    (tmp_path / "raw").mkdir()
    for name in (f"i.{suffix}", "m.png"):
        (tmp_path / name).rename(tmp_path / "raw" / name)
    assert prepared(tmp_path / "raw", f"i.{suffix}", "m.png").cases


@pytest.mark.parametrize(
    ("suffix", "first", "second"),
    [(s, a, b) for s in ("png", "tif") for a, b in itertools.product(ORIENTATIONS, (1, 3, 6))],
)
def test_no_image_is_turned_away_from_its_mask(
    tmp_path: Path, suffix: str, first: int, second: int
) -> None:
    """Both are written as a camera does: stored pixels, and a tag that says how to turn them."""
    raw = tmp_path / "raw"
    raw.mkdir()
    for name, pixels, tag in (("i", IMAGE, first), ("m", LESION, second)):
        exif = Image.Exif()
        exif[0x0112] = tag
        Image.fromarray(pixels).save(raw / f"{name}.{suffix}", exif=exif)
    if suffix == "tif" and (first, second) != (1, 1):  # Pillow reads some of them wrongly
        with pytest.raises(BusbenchError, match=r"upright|EXIF"):
            prepared(raw, f"i.{suffix}", f"m.{suffix}")
    elif first == second:
        store = prepared(raw, f"i.{suffix}", f"m.{suffix}")
        image, mask = store.image("c0").astype(float), store.mask("c0")
        assert image[mask].sum() == IMAGE.astype(float)[LESION].sum()
    else:
        with pytest.raises(BusbenchError, match="EXIF"):
            prepared(raw, f"i.{suffix}", f"m.{suffix}")


# --- masks -------------------------------------------------------------------------------------


def two(first: int, second: int) -> Bytes:
    return (LESION * first + SECOND * second).astype(np.uint8)


def ringed(inside: int, ring: int) -> Bytes:
    """A lesion with a border of another value around it, two pixels wide."""
    grown = cv2.dilate(LESION.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    return np.where(LESION, inside, np.where(grown, ring, 0)).astype(np.uint8)


def palette(path: Path, colours: list[int]) -> None:
    image = Image.fromarray(two(1, 2), mode="P")
    image.putpalette([0, 0, 0, *colours] + [0] * 750)
    image.save(path)


VALUES = (1, 2, 3, 60, 100, 127, 128, 200, 254, 255)


@pytest.mark.parametrize(("first", "second"), list(itertools.permutations(VALUES, 2)))
def test_no_lesion_is_lost_for_its_grey_value(tmp_path: Path, first: int, second: int) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    Image.fromarray(IMAGE).save(raw / "i.png")
    Image.fromarray(two(first, second)).save(raw / "m.png")
    require_true(lambda: prepared(raw, "i.png", "m.png"), LESION | SECOND)


@pytest.mark.parametrize("colours", [[64, 0, 0, 255, 255, 0], [0, 255, 0, 255, 0, 0], [0] * 6])
def test_no_lesion_is_lost_for_its_colour(tmp_path: Path, colours: list[int]) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    Image.fromarray(IMAGE).save(raw / "i.png")
    palette(raw / "m.png", colours)
    require_true(lambda: prepared(raw, "i.png", "m.png"), LESION | SECOND)


@pytest.mark.parametrize(("inside", "ring"), [(1, 255), (255, 1), (1, 2), (255, 128), (128, 255)])
def test_no_border_is_taken_for_lesion(tmp_path: Path, inside: int, ring: int) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    Image.fromarray(IMAGE).save(raw / "i.png")
    Image.fromarray(ringed(inside, ring)).save(raw / "m.png")
    require_true(lambda: prepared(raw, "i.png", "m.png"))


@pytest.mark.parametrize("radius", [3, 10, 20, 27])
@pytest.mark.parametrize("centre", [(30, 42), (10, 12), (0, 0), (59, 83)])
def test_no_inverted_mask_is_stored(tmp_path: Path, radius: int, centre: tuple[int, int]) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    Image.fromarray(IMAGE).save(raw / "i.png")
    lesion = (ROWS - centre[0]) ** 2 + (COLUMNS - centre[1]) ** 2 <= radius**2
    Image.fromarray(~lesion).save(raw / "m.png")
    with pytest.raises(BusbenchError, match="inverted"):
        prepared(raw, "i.png", "m.png")


# --- medical files -----------------------------------------------------------------------------


def geometry(flips: tuple[int, int], crop: bool, dims: int) -> Callable[[Path], None]:
    """A mask of the same lesion, stored mirrored or cropped, that says where it lies."""

    def write(path: Path) -> None:
        stored = LESION[:: flips[1], :: flips[0]].astype(np.uint8)
        spacing, size = (0.1, 0.2), (SIZE[1], SIZE[0])
        image = sitk.GetImageFromArray(stored if dims == 2 else stored[None])
        image.SetSpacing(spacing if dims == 2 else (*spacing, 1.0))
        axes = np.eye(dims)
        axes[0, 0], axes[1, 1] = flips
        image.SetDirection(axes.ravel().tolist())
        origin = [0.0 if f > 0 else s * (n - 1) for f, s, n in zip(flips, spacing, size)]  # noqa: B905
        image.SetOrigin((*origin, 0.0)[:dims])
        whole = (slice(None),) * (dims - 2)
        part = (slice(8, 76), slice(4, 56)) if crop else (slice(None), slice(None))
        sitk.WriteImage(image[(*part, *whole)], str(path))

    return write


GEOMETRIES = list(
    itertools.product(itertools.product((1, -1), repeat=2), (slice(None), slice(4, 58)), (2, 3))
)


@pytest.mark.parametrize(("flips", "crop", "dims"), GEOMETRIES)
@pytest.mark.parametrize("suffix", ["nrrd", "mha", "nii.gz"])
def test_no_medical_mask_is_misplaced(
    tmp_path: Path, flips: tuple[int, int], crop: bool, dims: int, suffix: str
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    image = sitk.GetImageFromArray(IMAGE)
    image.SetSpacing((0.1, 0.2))
    sitk.WriteImage(image, str(raw / "i.mha"))
    geometry(flips, crop, dims)(raw / f"m.{suffix}")
    require_true(lambda: prepared(raw, "i.mha", f"m.{suffix}"))


def ultrasound(path: Path, *regions: tuple[int, int, float, float]) -> None:
    """A DICOM file of one frame with regions of (type, unit, mm across, mm down)."""
    items = []
    for kind, unit, across, down in regions:
        item = Dataset()
        item.RegionSpatialFormat, item.RegionDataType = 1, kind
        item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = unit
        item.PhysicalDeltaX, item.PhysicalDeltaY = across / 10, down / 10
        items.append(item)
    write_dicom(path, IMAGE, "MONOCHROME2", SequenceOfUltrasoundRegions=Sequence(items))


@pytest.mark.parametrize(
    ("regions", "spacing"),
    [
        (((1, 3, 0.1, 0.2),), (0.2, 0.1)),
        (((1, 3, 0.1, -0.2), (3, 4, 9.0, 9.0)), (0.2, 0.1)),  # beside a trace over seconds
        (((1, 3, 0.1, 0.2), (1, 3, 0.1, 0.2)), (0.2, 0.1)),
        (((1, 3, 0.1, 0.2), (1, 3, 0.3, 0.3)), "refused"),
        (((1, 0, 0.1, 0.2),), None),
        ((), None),
    ],
)
def test_no_spacing_of_ultrasound_is_lost(
    tmp_path: Path, regions: tuple[tuple[int, int, float, float], ...], spacing: Any
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    ultrasound(raw / "i.dcm", *regions)
    Image.fromarray(LESION).save(raw / "m.png")
    if spacing == "refused":
        with pytest.raises(BusbenchError, match="spacing"):
            prepared(raw, "i.dcm", "m.png")
    else:
        assert prepared(raw, "i.dcm", "m.png").cases[0].spacing == (
            None if spacing is None else pytest.approx(spacing)
        )


@pytest.mark.parametrize("spacing", ["105,105", "0.00001,0.00001", "1e300,1", "0,0", "-1,1", "x,1"])
def test_no_implausible_spacing_is_stored(tmp_path: Path, spacing: str) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    Image.fromarray(IMAGE).save(raw / "i.png")
    Image.fromarray(LESION).save(raw / "m.png")
    head = "image,class,mask,case_id,spacing_row_mm,spacing_col_mm"
    with pytest.raises(BusbenchError, match="spacing"):
        prepared(raw, "", "", f"{head}\ni.png,benign,m.png,c0,{spacing}\n")


# --- tables ------------------------------------------------------------------------------------

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|"}
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252")
LINES = ("\n", "\r\n")


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("head", [str, str.upper, str.title])
def test_no_dialect_of_a_table_is_read_wrongly(
    tmp_path: Path, separator: str, encoding: str, line: str, head: Callable[[str], str]
) -> None:
    raw = tmp_path / "raw"
    (raw / "i").mkdir(parents=True)
    Image.fromarray(IMAGE).save(raw / "i" / "läsion.PNG")
    Image.fromarray(LESION).save(raw / "i" / "m.png")
    names = [head(name) for name in ("image", "class", "mask", "patient", "case_id")]
    rows = [names, ["i\\la\u0308sion.png", "Benign", "i\\m.png", "Ä 7", "c0"]]
    if encoding == "cp1252":
        rows[1][0] = "i\\läsion.png"
    text = line.join(SEPARATORS[separator].join(row) for row in rows) + line
    (raw / "cases.csv").write_bytes(text.encode(encoding))
    if encoding in ("cp1252", "utf-16-le"):  # neither says what it is
        with pytest.raises(BusbenchError, match=r"UTF-8|no column|not a table"):
            prepare("generic", raw, tmp_path / "store")
        return
    (case,) = prepare("generic", raw, tmp_path / "store").store.cases
    assert (case.patient, case.label) == ("Ä 7", "benign")


@pytest.mark.parametrize("head", ["patient_id", "subject", "Patients", "patient name", "pat", "x"])
def test_no_column_is_ignored(tmp_path: Path, head: str) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    with pytest.raises(BusbenchError, match=r"unknown column .*patient"):
        prepared(raw, "", "", f"image,class,mask,{head}\ni.png,benign,m.png,7\n")


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("Bild;Klasse\ni.png;benign\n", "which has 'Bild', 'Klasse'"),
        ("My data,,\nimage,class,mask\n", "which has 'My data'"),
        ("image,class\ni.png,benign,m.png\n", "line 2, saw 3"),
        ("image,class\ni.png,gutartig\n", "known are benign, malignant, normal"),
        ("image;class;spacing_row_mm;spacing_col_mm\ni.png;benign;0,1;0,1\n", "'0,1' and '0,1'"),
    ],
)
def test_no_table_is_refused_without_what_was_read(
    tmp_path: Path, text: str, reported: str
) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "i.png")
    with pytest.raises(BusbenchError, match=re.escape(reported)) as caught:
        prepared(tmp_path, "", "", text)
    assert "release as downloaded" not in caught.value.remedy


def test_no_release_is_asked_for_where_a_table_is_missing(tmp_path: Path) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "i.png")
    with pytest.raises(BusbenchError, match=r"no cases\.csv") as caught:
        prepare("generic", tmp_path, tmp_path / "store")
    assert "lists the images" in caught.value.remedy


def test_no_column_is_taken_twice(tmp_path: Path) -> None:
    with pytest.raises(BusbenchError, match="twice"):
        prepared(tmp_path, "", "", "image,class,patient,Patient\ni.png,benign,7,8\n")


@pytest.mark.parametrize("place", ["outside", "inside"])
def test_no_absolute_path_ends_in_a_traceback(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    Image.fromarray(LESION).save(raw / "m.png")
    where = raw if place == "inside" else tmp_path
    Image.fromarray(IMAGE).save(where / "i.png")
    monkeypatch.chdir(tmp_path)
    if place == "inside":
        assert prepared(Path("raw"), str(where / "i.png"), "m.png").cases
    else:
        with pytest.raises(BusbenchError, match="outside"):
            prepared(Path("raw"), str(where / "i.png"), "m.png")


def test_no_name_that_is_not_utf_8_ends_in_a_traceback(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    with open(os.fsencode(raw) + b"/l\xe4sion.png", "wb"):  # noqa: PTH123  a name of bytes
        pass
    with pytest.raises(BusbenchError, match=r"l\\xe4sion.png has a name that is not UTF-8"):
        prepared(raw, "i.png", "m.png")


@pytest.mark.parametrize("links", [("latest",), ("latest", "current"), ("a", "b", "c", "d")])
def test_no_link_to_a_folder_above_makes_it_endless(tmp_path: Path, links: tuple[str, ...]) -> None:
    raw = tmp_path / "raw"
    (raw / "deep").mkdir(parents=True)
    Image.fromarray(IMAGE).save(raw / "deep" / "i.png")
    Image.fromarray(LESION).save(raw / "deep" / "m.png")
    for link in links:
        (raw / link).symlink_to(".")
        (raw / "deep" / link).symlink_to("..")
    assert prepared(raw, "deep/i.png", "deep/m.png").cases


# --- patients ----------------------------------------------------------------------------------

SPELLINGS = [
    ("007", "7"),
    ("7", "7.0"),
    ("P1", "p1"),
    ("P01", "P1"),
    ("P 1", "P1"),
    ("P-1", "p_1"),
    ("７", "7"),
    ("é", "e\u0301"),
]


@pytest.mark.parametrize(("one", "other"), SPELLINGS)
def test_no_patient_is_two_for_a_spelling(tmp_path: Path, one: str, other: str) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    Image.fromarray(IMAGE).save(raw / "i.png")
    Image.fromarray(LESION).save(raw / "m.png")
    rows = f"i.png,benign,m.png,c0,{one}\ni.png,benign,m.png,c1,{other}\n"
    with pytest.raises(BusbenchError, match="one or two") as caught:
        prepared(raw, "", "", "image,class,mask,case_id,patient\n" + rows)
    assert repr(one) in caught.value.message and repr(other) in caught.value.message


@pytest.mark.parametrize(
    ("one", "other"), [("P1", "P2"), ("P12", "P1-2"), ("1.5", "1.50x"), ("a", "b")]
)
def test_no_two_patients_are_taken_for_one(one: str, other: str) -> None:
    assert spelling(one) != spelling(other)


@pytest.mark.parametrize("known", [0, 1, 12])
def test_no_split_is_said_not_to_leak_where_a_patient_is_unknown(
    tmp_path: Path, known: int
) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    rows = []
    for number in range(12):
        shifted = np.roll(IMAGE, 7 * number, axis=1)
        Image.fromarray(shifted).save(raw / f"{number}.png")
        lesion = np.roll(LESION, number, axis=0) if number % 2 else LESION
        Image.fromarray(lesion).save(raw / f"{number}_m.png")
        label = "malignant" if number % 3 == 0 else "benign"
        patient = f"P{number}" if number < known else ""
        rows.append(f"{number}.png,{label},{number}_m.png,c{number},{patient}")
    text = "image,class,mask,case_id,patient\n" + "\n".join(rows) + "\n"
    store = prepared(raw, "", "", text)
    report = audit(store, near=False)
    split = freeze(store, report, tmp_path / "split", version="v1", folds=2, secret=b"0" * 32)
    assert ("does not leak" in split.lock.verdict) == (known == 12)
    assert ("cannot be seen" in split.lock.verdict) == (known < 12)
