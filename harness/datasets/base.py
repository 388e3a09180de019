"""What is a dataset to us? The one protocol that every adapter speaks.

An adapter is one file. It knows the layout of one release, as downloaded, and nothing about
pixels: it lists raw cases, in sorted order, and what the release claims about them. Decoding,
mending and refusing are the same for all datasets and stand in `decode.py` and `mend.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from evaluator.contract import Label
from evaluator.errors import BusbenchError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
NESTING = 4  # folders an unpacked archive may wrap around the layout

# What to do about a refused file where the refusal itself knows nothing better.
REMEDIES = {
    "image-unreadable": "Download that file again, or leave such cases out with --skip-refused.",
    "mask-missing": "Restore the missing file, or leave such cases out with --skip-refused.",
    "data-refused": "Correct it at its source, or leave such cases out with --skip-refused.",
}


@dataclass(frozen=True)
class Release:
    """What the publishers state: shown beside what was found."""

    classes: Mapping[Label, int]  # images a class; empty where nothing is stated
    patients: int | None
    paper: str  # DOI of the paper to cite, or what stands in its place
    download: str  # where to get it, as DOI or page
    terms: str


@dataclass(frozen=True)
class RawCase:
    """One image as the release has it, before a pixel is read."""

    case_id: str
    label: Label
    patient: str | None
    image: Path
    masks: tuple[Path, ...]  # their union is the lesion map; empty only where none belongs to it
    spacing: tuple[float, float] | None = None  # (row, column) in millimetres
    device: str | None = None
    birads: str | None = None
    stated_size: tuple[int, int] | None = None  # (height, width) claimed by the metadata
    stated_box: tuple[int, int, int, int] | None = None  # lesion (x, y, width, height), claimed
    mask_optional: bool = False  # a normal case may come without a mask file
    mends: tuple[str, ...] = ()  # what the adapter mended in the metadata


@dataclass(frozen=True)
class Refusal:
    """A file that cannot become a case, and why: `file` `reason`."""

    code: str  # a key of `evaluator.errors.CODES`
    file: Path
    reason: str  # completes the sentence that begins with the file's name
    remedy: str = ""

    def error(self) -> BusbenchError:
        """The refusal as an error with someone to blame."""
        remedy = self.remedy or REMEDIES[self.code]
        return BusbenchError(self.code, f"{self.file} {self.reason}.", remedy)


class RefusedError(Exception):
    """Raised inside the reading of one case; never leaves `prepare`, which collects them."""

    def __init__(self, code: str, file: Path, reason: str, remedy: str = "") -> None:
        self.refusal = Refusal(code, file, reason, remedy)
        super().__init__(f"{file} {reason}")


@dataclass(frozen=True)
class Adapter:
    """One dataset: its names, what its release states, and how its folder is read."""

    name: str
    title: str
    release: Release
    read: Callable[[Path], Iterable[RawCase | Refusal]]  # raw folder -> cases in sorted order
    mask_colours: Mapping[Label, tuple[int, int, int]] = field(default_factory=dict)


def find_root(raw: Path, wanted: tuple[str, ...], dataset: str) -> Path:
    """The folder at or below `raw` that holds all `wanted` entries, however deep it was unpacked.

    Raises:
        BusbenchError: `raw-missing` where there is none, or more than one.
    """
    level, found = [raw], list[Path]()
    for _ in range(NESTING + 1):
        found = [folder for folder in level if all((folder / name).exists() for name in wanted)]
        if found:
            break
        level = [child for folder in level for child in _folders(folder)]
    if len(found) == 1:
        return found[0]
    holds = " and ".join(wanted)
    if found:
        message = f"{raw} holds {len(found)} folders with {holds}: {found[0]}, {found[1]}."
        raise BusbenchError("raw-missing", message, "Name one of them with --raw.")
    raise BusbenchError(
        "raw-missing",
        f"{raw} is not the {dataset} folder: it holds no {holds}.",
        "Unpack the release as downloaded and name its folder with --raw.",
    )


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [p for p in sorted(folder.iterdir()) if p.is_dir() and not is_litter(p)]


def is_litter(path: Path) -> bool:
    """Whether an operating system left it there: `.DS_Store`, `__MACOSX`, `Thumbs.db`."""
    return path.name.startswith(".") or path.name in ("__MACOSX", "Thumbs.db")


def files_in(folder: Path) -> list[Path]:
    """All image files directly in a folder, sorted by name."""
    if not folder.is_dir():
        return []
    files = (p for p in folder.iterdir() if p.is_file() and not is_litter(p))
    return sorted(p for p in files if p.suffix.lower() in IMAGE_SUFFIXES)


def read_table(path: Path, columns: tuple[str, ...], sep: str = ",") -> pd.DataFrame:
    """A CSV as text, blanks around values removed; an empty cell is "".

    Raises:
        BusbenchError: `raw-missing` where it is missing, not a table, or lacks a column.
    """
    remedy = "Restore it from the release."
    try:
        frame = pd.read_csv(path, sep=sep, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise BusbenchError("raw-missing", f"{path} is missing.", remedy) from error
    except (OSError, ValueError) as error:
        raise BusbenchError("raw-missing", f"{path} is not a table.", remedy) from error
    frame.columns = frame.columns.str.strip()
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        message = f"{path} has no column {', '.join(missing)}."
        raise BusbenchError("raw-missing", message, remedy)
    return frame.map(str.strip)


def pair_up(
    images: Iterable[Path], masks: Iterable[Path], key: Callable[[Path], str]
) -> tuple[list[tuple[Path, Path]], list[Refusal]]:
    """Join images and masks by `key` (of a mask's path); what stays alone is refused.

    Returns:
        pairs in the images' order, and one refusal for each file without a partner.
    """
    by_key = {key(mask): mask for mask in masks}
    pairs, refusals = [], []
    for image in images:
        mask = by_key.pop(image.stem, None)
        if mask is None:
            refusals.append(Refusal("mask-missing", image, "has no mask"))
        else:
            pairs.append((image, mask))
    refusals += [Refusal("mask-missing", m, "is a mask without an image") for m in by_key.values()]
    return pairs, refusals


def hashed_id(prefix: str, own_name: str) -> str:
    """A stable case id for a dataset whose own names tell the class, which test cases hide."""
    return f"{prefix}_{hashlib.sha256(own_name.encode()).hexdigest()[:10]}"


def rows_of(frame: pd.DataFrame) -> Iterator[dict[str, str]]:
    """The rows of a table read by `read_table`, in file order."""
    for row in frame.to_dict("records"):
        yield {str(key): str(value) for key, value in row.items()}
