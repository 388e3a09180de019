"""All dimensions of one's own data at once: what is stored is the truth, or it was refused.

Datasets are drawn from the product of file format, depth, colour, alpha, orientation, convention
of the mask and dialect of the table. Each value says whether it alone may be stored; a case of
sound values must be, one with a value that hides its truth must not, and whatever is stored is
compared with the pixels that the files were made of.
"""

from __future__ import annotations

import csv
import io
import tempfile
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from evaluator.errors import BusbenchError
from harness.prepare import prepare
from harness.store import Case, CaseStore
from tests.support.dicom import write_dicom
from tests.support.image_files import exif, png, stored, tiff

Array = NDArray[Any]


class Verdict(IntEnum):
    """What must become of a case; of several, the least counts."""

    REFUSED = 0
    OPEN = 1  # refused, or stored as the truth
    STORED = 2


SHAPE = (64, 88)
ROWS, COLUMNS = np.indices(SHAPE)
SEEN = (20 + ROWS * 2 + COLUMNS / 2 + 12 * np.sin(COLUMNS / 3)).clip(0, 235).astype(np.uint8)
FIRST = ((ROWS - 22) / 9) ** 2 + ((COLUMNS - 54) / 14) ** 2 <= 1
SECOND = ((ROWS - 47) / 7) ** 2 + ((COLUMNS - 20) / 9) ** 2 <= 1
LESIONS = FIRST + 2 * SECOND.astype(np.uint8)
BLOCK = (slice(50, 60), slice(70, 84))  # of a burnt-in mark, or of a hole in alpha
rng = np.random.default_rng(3)
SHUFFLE = rng.permutation(256).astype(np.uint8)  # grey value -> its index in a palette
PALETTE = np.repeat(np.argsort(SHUFFLE)[:, None], 3, axis=1).astype(np.uint8)

# --- images: depth, colour, alpha, and which format carries what ------------------------------

DEPTHS: dict[str, Callable[[Array], Array]] = {
    "8": lambda grey: grey.astype(np.uint8),
    "12": lambda grey: grey.astype(np.uint16) * 16,
    "16": lambda grey: grey.astype(np.uint16) * 257,
    "signed": lambda grey: grey.astype(np.int16) * 8 - 1000,
    "float": lambda grey: (grey / 255).astype(np.float32),
    "signed byte": lambda grey: (grey.astype(np.int16) - 128).astype(np.int8),
    "32": lambda grey: grey.astype(np.uint32) * 16_843_009,
}
ALPHAS = {"none": None, "opaque": 1.0, "hole": 1.0, "faint": 0.08, "clear": 0.0}
COLOURS = ("grey", "rgb", "mark", "palette", "white is zero")
PLAIN = ("grey", "rgb", "mark")
MEDICAL = ("mha", "nrrd", "nii.gz", "dcm")
# format -> depths, colours, alphas, whether it has an orientation
ORDERS: tuple[Literal["<", ">"], ...] = ("<", ">")
CARRIES: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], bool]] = {
    "png": (("8", "12", "16"), (*PLAIN, "palette"), tuple(ALPHAS), True),
    "tif": (tuple(DEPTHS), COLOURS, tuple(ALPHAS), True),
    "jpg": (("8",), PLAIN, ("none",), True),
    "bmp": (("8",), (*PLAIN, "palette"), ("none",), False),
    "gif": (("8",), ("palette",), ("none",), False),
    "webp": (("8",), ("rgb", "mark"), ("none", "hole", "faint", "clear"), True),
    "mha": (("8", "12", "16", "signed", "float"), PLAIN, ("none",), False),
    "nrrd": (("8", "12", "16", "signed", "float"), ("grey", "rgb"), ("none",), False),
    "nii.gz": (("8", "12", "16", "signed", "float"), ("grey",), ("none",), False),
    "dcm": (("8", "12", "16"), (*PLAIN, "white is zero"), ("none",), False),
}


@dataclass(frozen=True)
class ImageFile:
    """How an image file has its pixels."""

    format: str
    depth: str
    colour: str
    alpha: str
    orientation: int
    order: Literal["<", ">"]

    @property
    def deep(self) -> bool:
        return self.depth != "8"

    @property
    def verdict(self) -> Verdict:
        """Beside alpha that hides the image, what no common reader takes is open."""
        if self.alpha in ("faint", "clear"):
            return Verdict.REFUSED
        coloured = self.colour in ("rgb", "mark", "palette")
        turned = self.orientation != 1 and (
            self.format == "tif" or (self.deep and (coloured or self.alpha != "none"))
        )
        if coloured:
            unread = self.format == "tif" and self.depth in ("signed", "float")
        else:
            odd = self.deep or self.colour == "white is zero"
            unread = self.format == "tif" and odd and self.alpha != "none"
        unusual = turned or unread or self.depth in ("signed byte", "32")
        return Verdict.OPEN if unusual else Verdict.STORED

    def channels(self) -> Array:
        """(H, W) or (H, W, C) without alpha, before the palette, in the file's depth."""
        value = DEPTHS[self.depth](SEEN)
        if self.colour == "white is zero":
            white = np.iinfo(value.dtype).max if value.dtype.kind == "u" else value.max()
            return np.asarray(white - value, value.dtype)
        if self.colour not in ("rgb", "mark"):
            return value
        made = np.dstack([value] * 3)
        if self.colour == "mark":
            black, white = DEPTHS[self.depth](np.array([0, 255]))
            made[BLOCK] = (black, white, black)
        return made

    def truth(self) -> NDArray[np.float64]:
        """(H, W): what a viewer shows, in grey values of 0 to 255 as the store has them."""
        seen = SEEN.astype(np.float64)
        low, high = seen.min(), seen.max()
        if self.colour == "mark":
            seen[BLOCK], low, high = 0.587 * 255, 0, 255
        if self.deep:
            seen = (seen - low) * 255 / (high - low)
        if self.alpha == "hole":
            seen[BLOCK] = 0
        return seen

    def converted(self) -> bool:
        """Whether its file has something other than the store, which must be reported."""
        marked = self.colour == "mark" and self.alpha != "hole"
        return self.deep or marked or self.alpha != "none" or self.orientation != 1


def with_alpha(pixels: Array, alpha: str) -> Array:
    """A channel more, where there is to be one."""
    share = ALPHAS[alpha]
    if share is None:
        return pixels
    full = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "ui" else 1
    plane = np.full(SHAPE, full * share).astype(pixels.dtype)
    if alpha == "hole":
        plane[BLOCK] = 0
    return np.dstack([pixels, plane])


def write_image(path: Path, what: ImageFile) -> None:
    """Write an image file as `what` says."""
    indexed, pixels = what.colour == "palette", what.channels()
    pixels = SHUFFLE[SEEN] if indexed else with_alpha(pixels, what.alpha)
    pixels = stored(pixels, what.orientation)
    if what.format == "png":
        alpha = ALPHAS[what.alpha] if indexed else None
        clear = b"" if alpha is None else bytes([round(255 * alpha)]) * 256
        colours = PALETTE if indexed else None
        path.write_bytes(
            png(pixels, orientation=what.orientation, palette=colours, transparency=clear)
        )
    elif what.format == "tif":
        kind = {"palette": 3, "white is zero": 0, "grey": 1}.get(what.colour, 2)
        path.write_bytes(
            tiff(
                pixels,
                kind,
                orientation=what.orientation,
                palette=PALETTE if indexed else None,
                alpha=not indexed and what.alpha != "none",
                order=what.order,
            )
        )
    elif what.format == "dcm":
        grey = "MONOCHROME1" if what.colour == "white is zero" else "MONOCHROME2"
        write_dicom(path, pixels, grey if pixels.ndim == 2 else "RGB")
    elif what.format in MEDICAL:
        volume = sitk.GetImageFromArray(pixels, isVector=pixels.ndim == 3)
        volume.SetSpacing((0.1, 0.2))
        sitk.WriteImage(volume, str(path))
    else:
        image = Image.fromarray(pixels)
        if indexed:
            image.putpalette(PALETTE.ravel().tolist())
        how: dict[str, Any] = {"quality": 95, "lossless": True, "exact": True}
        if what.orientation != 1:
            how["exif"] = b"Exif\0\0" + exif(what.orientation)
        image.save(path, **how)


# --- masks -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Convention:
    """How a mask says where lesions are."""

    pixels: Array
    verdict: Verdict = Verdict.STORED
    converted: bool = False  # whether it must be reported how it was read
    palette: NDArray[np.uint8] | None = None
    photometric: int | None = None  # of a TIFF


UNION = (LESIONS > 0).astype(np.uint8)
RING = (cv2.dilate(UNION, np.ones((3, 3), np.uint8)) > UNION).astype(np.uint8)
WIDE = (cv2.dilate(UNION, np.ones((9, 9), np.uint8)) > UNION).astype(np.uint8)
SOFT = 255 * UNION + RING * rng.integers(20, 120, SHAPE).astype(np.uint8)
KEY = np.array([[0, 0, 0], [64, 0, 0], [255, 255, 0]], np.uint8)


def clear_where(colour: int, opaque: Array) -> Array:
    """(H, W, 4): one grey value, to be seen where `opaque` is not 0."""
    return np.dstack([np.full((*SHAPE, 3), colour, np.uint8), 255 * opaque.astype(np.uint8)])


CONVENTIONS = {
    "0 and 255": Convention(255 * UNION),
    "0 and 1": Convention(UNION),
    "labels": Convention(LESIONS, converted=True),
    "grey labels": Convention(LESIONS * 100, converted=True),
    "colours": Convention(np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)[LESIONS]),
    "palette": Convention(LESIONS, converted=True, palette=KEY),
    "black palette": Convention(LESIONS, Verdict.REFUSED, palette=KEY * 0),
    "white where it is opaque": Convention(clear_where(255, UNION), converted=True),
    "black where it is opaque": Convention(clear_where(0, UNION), Verdict.REFUSED),
    "soft": Convention(SOFT, converted=True),
    "void ring": Convention(UNION + 254 * WIDE, Verdict.OPEN),
    "inverted": Convention(255 - 255 * UNION, Verdict.REFUSED),
    "background is 1": Convention(1 + UNION, Verdict.OPEN),
    "background is 100": Convention(100 + 100 * UNION, Verdict.OPEN),
    "empty": Convention(0 * UNION, Verdict.REFUSED),
    "0 and 65535": Convention(UNION * np.uint16(65535), converted=True),
    "labels of 16 bits": Convention(LESIONS.astype(np.uint16), converted=True),
    "labels far apart": Convention(
        np.array([0, 1, 65535], np.uint16)[LESIONS], Verdict.OPEN, converted=True
    ),
    "0 and -1": Convention(-UNION.astype(np.int16), Verdict.OPEN),
    "fractions": Convention(UNION.astype(np.float32) / 2, Verdict.OPEN, converted=True),
    "labels of fractions": Convention(
        np.array([0, 0.001, 1], np.float32)[LESIONS], Verdict.OPEN, converted=True
    ),
    "white is zero": Convention(255 - 255 * UNION, photometric=0),
    "the image itself": Convention(SEEN, Verdict.REFUSED),
}


@dataclass(frozen=True)
class MaskFile:
    """A mask's convention and what its file adds to it."""

    convention: str
    format: str
    orientation: int
    scale: int  # of its size to the image's
    mirrored: bool  # stored so, which its geometry says

    def write(self, path: Path) -> None:
        """Write the file."""
        how = CONVENTIONS[self.convention]
        pixels = np.repeat(np.repeat(how.pixels, self.scale, 0), self.scale, 1)
        pixels = stored(pixels, self.orientation)
        if self.format == "png":
            path.write_bytes(png(pixels, orientation=self.orientation, palette=how.palette))
        elif self.format == "tif":
            kind = 2 if pixels.ndim == 3 else 1 if how.photometric is None else how.photometric
            alpha = pixels.shape[2:] == (4,)
            path.write_bytes(tiff(pixels, kind, orientation=self.orientation, alpha=alpha))
        elif self.format == "bmp":
            Image.fromarray(pixels).save(path)
        else:
            image = sitk.GetImageFromArray(pixels[:, ::-1] if self.mirrored else pixels)
            image.SetSpacing((0.1 / self.scale, 0.2 / self.scale))
            if self.mirrored:
                image.SetDirection((-1, 0, 0, 1))
                image.SetOrigin((0.1 / self.scale * (pixels.shape[1] - 1), 0))
            sitk.WriteImage(image, str(path))


def formats_of(how: Convention) -> tuple[str, ...]:
    """The formats that carry a convention."""
    if how.photometric is not None:
        return ("tif",)
    if how.palette is not None:
        return ("png",)
    kind = (how.pixels.dtype.kind, how.pixels.dtype.itemsize, how.pixels.ndim)
    return {
        ("u", 1, 2): ("png", "tif", "bmp", "nrrd", "mha"),
        ("u", 1, 3): ("png", "tif"),
        ("u", 2, 2): ("png", "tif", "nrrd"),
    }.get(kind, ("tif", "nrrd"))


# --- tables ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dialect:
    """How a table is written."""

    separator: str
    encoding: str
    newline: str
    head: Callable[[str], str]
    quoting: Literal[0, 1]  # minimal, all
    slash: str
    form: Literal["NFC", "NFD"]
    recased: bool  # names have another case than their files
    patient: str  # name of the column
    spelt_twice: bool  # the first patient, in the last row
    spacing: str  # of every image, in millimetres; empty: no such columns

    @property
    def hides(self) -> bool:
        """Whether the table must be refused as a whole."""
        unnamed = self.encoding in ("cp1252", "utf-16-le")  # the file does not say which it is
        return unnamed or self.patient != "patient" or self.spelt_twice

    @property
    def spacing_verdict(self) -> Verdict:
        return Verdict.STORED if self.spacing in ("", "0.1") else Verdict.REFUSED

    def write(self, path: Path, rows: list[dict[str, str]]) -> None:
        """Write the rows; keys are the columns' names in lower case."""
        text = io.StringIO()
        how: dict[str, Any] = {"delimiter": self.separator, "lineterminator": self.newline}
        writer = csv.writer(text, quoting=self.quoting, **how)
        writer.writerow(map(self.head, rows[0]))
        for row in rows:
            writer.writerow(row.values())
        path.write_bytes(text.getvalue().encode(self.encoding))

    def name(self, file: str) -> str:
        """A file's name as the table has it."""
        text = unicodedata.normalize(self.form, file.replace("/", self.slash))
        text = text.upper() if self.recased else text
        return text if self.encoding != "cp1252" else unicodedata.normalize("NFC", text)


HEADS: tuple[Callable[[str], str], ...] = (str, str.upper, str.title)


@st.composite
def dialects(draw: st.DrawFn) -> Dialect:
    """Mostly sound ones, or few cases would be looked at."""
    rare = st.integers(0, 7).map(lambda number: number == 0)
    odd = draw(rare)
    return Dialect(
        draw(st.sampled_from(",;\t|")),
        draw(st.sampled_from(("cp1252", "utf-16-le") if odd else ("utf-8", "utf-8-sig", "utf-16"))),
        draw(st.sampled_from(("\n", "\r\n"))),
        draw(st.sampled_from(HEADS)),
        draw(st.sampled_from((0, 1))),
        draw(st.sampled_from(("/", "\\"))),
        draw(st.sampled_from(("NFC", "NFD"))),
        draw(st.booleans()),
        "patient_id" if draw(rare) else "patient",
        draw(rare),
        draw(st.sampled_from(("", "", "0.1", "0.1", "105", "0,1"))),
    )


# --- datasets ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """A case's two files."""

    image: ImageFile
    mask: MaskFile

    @property
    def verdict(self) -> Verdict:
        """The worst of what its values say, and of how they go together."""
        how, medical = CONVENTIONS[self.mask.convention], self.image.format in MEDICAL
        verdicts = {self.image.verdict, how.verdict}
        if self.image.orientation != self.mask.orientation:
            verdicts.add(Verdict.REFUSED)
        placed = self.mask.format in ("nrrd", "mha")  # a file that has a geometry
        if self.mask.mirrored and (not medical or self.image.format == "dcm"):
            verdicts.add(Verdict.REFUSED)  # two places, and the image does not say which
        turned = self.mask.orientation != 1
        if (turned and self.mask.format == "tif") or (placed and self.mask.scale > 1):
            verdicts.add(Verdict.OPEN)
        return min(verdicts)


@st.composite
def cases(draw: st.DrawFn) -> Made:
    """Each dimension by itself, within what a format carries."""
    form = draw(st.sampled_from(tuple(CARRIES)))
    depths, colours, alphas, oriented = CARRIES[form]
    tag = draw(st.sampled_from((1, 1, 1, *range(2, 9)))) if oriented else 1
    image = ImageFile(
        form,
        draw(st.sampled_from(depths)),
        draw(st.sampled_from(colours)),
        draw(st.sampled_from(alphas)),
        tag,
        draw(st.sampled_from(ORDERS)),
    )
    if image.colour == "palette":
        opaque = image.alpha if image.alpha != "hole" and form == "png" else "none"
        image = replace(image, depth="8", alpha=opaque)
    convention = draw(st.sampled_from(tuple(CONVENTIONS)))
    own = draw(st.sampled_from(formats_of(CONVENTIONS[convention])))
    other = draw(st.integers(0, 5)) == 0
    turned = draw(st.integers(1, 8)) if other else tag
    scale = draw(st.sampled_from((1, 1, 2)))
    mirrored = own in ("nrrd", "mha") and draw(st.booleans())
    mask = MaskFile(convention, own, turned if own in ("png", "tif") else 1, scale, mirrored)
    return Made(image, mask)


def write_dataset(raw: Path, made: list[Made], table: Dialect) -> None:
    """The files of a dataset, and `cases.csv`."""
    (raw / "Läsionen").mkdir(parents=True)
    rows = []
    for number, case in enumerate(made):
        names = f"Läsionen/{number} ö.{case.image.format}", f"{number}m.{case.mask.format}"
        write_image(raw / names[0], case.image)
        case.mask.write(raw / names[1])
        again = table.spelt_twice and number == len(made) - 1
        folder, _, file = table.name(names[0]).rpartition(table.slash)
        row = {
            # folders are found by their very name
            "image": f"Läsionen{table.slash}{file}" if folder else file,
            "class": "Benign",
            "mask": table.name(names[1]),
            table.patient: "P01" if again else f"p{number + 1}",
            "case_id": f"c{number}",
        }
        if table.spacing:
            row |= {"spacing_row_mm": table.spacing, "spacing_col_mm": table.spacing}
        rows.append(row)
    table.write(raw / "cases.csv", rows)


def require_truth(store: CaseStore, case: Case, made: Made, table: Dialect) -> None:
    """Compare a stored case with what its files were made of."""
    image, seen = store.image(case.case_id).astype(np.float64), made.image.truth()
    lossy = made.image.format == "jpg"
    assert image.shape == SHAPE
    off = np.abs(image - seen)
    assert off.max() <= (40 if lossy else 2) and off.mean() <= (4 if lossy else 1)
    assert np.array_equal(store.mask(case.case_id), UNION > 0)
    lesions = store.lesions(case.case_id)
    assert case.lesions == 2 and len({*lesions[FIRST]} | {*lesions[SECOND]} - {0}) == 2
    assert case.label == "benign" and case.patient == f"p{int(case.case_id[1:]) + 1}"
    medical = (0.2, 0.1) if made.image.format in ("mha", "nrrd", "nii.gz") else None
    stated = (0.1, 0.1) if table.spacing else medical
    assert case.spacing == stated or np.allclose(case.spacing or 0, stated or 1)
    converted = made.image.converted() or CONVENTIONS[made.mask.convention].converted
    assert case.repairs or not converted


@settings(max_examples=120)
@given(st.lists(cases(), min_size=2, max_size=4), dialects(), st.booleans())
def test_no_product_of_formats_is_stored_as_anything_but_the_truth(
    made: list[Made], table: Dialect, skip: bool
) -> None:
    verdicts = {f"c{n}": min(case.verdict, table.spacing_verdict) for n, case in enumerate(made)}
    with tempfile.TemporaryDirectory() as name:
        raw, out = Path(name) / "raw", Path(name) / "store"
        write_dataset(raw, made, table)
        try:
            result = prepare("generic", raw, out, skip_refused=skip)
        except BusbenchError as error:
            assert error.message and error.remedy and not out.exists()
            needed = max(verdicts.values()) if skip else min(verdicts.values())
            assert table.hides or needed < Verdict.STORED, error
            return
        assert not table.hides
        found = {case.case_id: case for case in result.store.cases}
        assert skip or found.keys() == verdicts.keys()
        for case_id, verdict in verdicts.items():
            assert verdict is not (Verdict.REFUSED if case_id in found else Verdict.STORED), (
                result.refused
            )
        for case_id, case in found.items():
            require_truth(result.store, case, made[int(case_id[1:])], table)
