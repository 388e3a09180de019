"""Folders, files, tables and partners of a release on disk, for all adapters."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import pandas as pd

from evaluator.errors import BusbenchError, Code
from harness.datasets.base import Refusal

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
NESTING = 4  # folders an unpacked archive may wrap around the layout


def find_root(raw: Path, wanted: tuple[str, ...], dataset: str) -> Path:
    """The folder at or below `raw` with all `wanted` entries, however deep it was unpacked.

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
    names = " and ".join(wanted)
    if found:
        message = f"{raw} contains {len(found)} folders with {names}: {found[0]}, {found[1]}."
        raise BusbenchError(Code.RAW_MISSING, message, "Name one of them with --raw.")
    raise BusbenchError(
        Code.RAW_MISSING,
        f"{raw} is not the {dataset} folder: it contains no {names}.",
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


@dataclass(frozen=True)
class Table:
    """A table of metadata as text, found by one of its columns."""

    path: Path
    rows: tuple[dict[str, str], ...]  # in file order; spaces around values removed

    def row(self, column: str, value: str, image: Path) -> dict[str, str] | Refusal:
        """The row of an image; a refusal where it has none, or several that disagree."""
        found = [row for row in self.rows if row[column] == value]
        if not found:
            return Refusal(Code.DATA_REFUSED, image, f"has no row in {self.path.name}")
        if any(row != found[0] for row in found):
            reason = f"has {len(found)} rows in {self.path.name} that disagree"
            return Refusal(Code.DATA_REFUSED, image, reason)
        return found[0]


def read_table(path: Path, columns: tuple[str, ...], sep: str = ",") -> Table:
    """A CSV or Excel file (its first sheet); an empty cell is "".

    Raises:
        BusbenchError: `raw-missing` where it is missing, not a table, or lacks a column.
    """
    remedy = "Restore it from the release."
    try:
        if path.suffix.lower() == ".xlsx":
            frame = pd.read_excel(path, dtype=str, keep_default_na=False, engine="openpyxl")
        else:
            frame = pd.read_csv(
                path, sep=sep, dtype=str, keep_default_na=False, encoding="utf-8-sig"
            )
    except FileNotFoundError as error:
        raise BusbenchError(Code.RAW_MISSING, f"{path} is missing.", remedy) from error
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise BusbenchError(Code.RAW_MISSING, f"{path} is not a table.", remedy) from error
    frame.columns = [str(name).strip() for name in frame.columns]
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        message = f"{path} has no column {', '.join(missing)}."
        raise BusbenchError(Code.RAW_MISSING, message, remedy)
    rows = frame.to_dict("records")
    return Table(
        path, tuple({str(name): str(cell).strip() for name, cell in row.items()} for row in rows)
    )


def pair_up(
    images: Iterable[Path],
    masks: Iterable[Path],
    key: Callable[[Path], str],
    *,
    several: bool = False,
) -> tuple[list[tuple[Path, tuple[Path, ...]]], list[Refusal]]:
    """Join images and masks by `key` of a mask's path, which must be the image's stem.

    Args:
        several: whether an image may have more than one mask.

    Returns:
        pairs in the images' order, and one refusal for each file without a partner.
    """
    groups: dict[str, list[Path]] = {}
    for mask in masks:
        groups.setdefault(key(mask), []).append(mask)
    pairs, refusals = list[tuple[Path, tuple[Path, ...]]](), list[Refusal]()
    for image in images:
        group = groups.pop(image.stem, [])
        if not group:
            refusals.append(Refusal(Code.MASK_MISSING, image, "has no mask"))
        elif len(group) > 1 and not several:
            names = " and ".join(mask.name for mask in group)
            refusals.append(Refusal(Code.DATA_REFUSED, image, f"has several masks, {names}"))
        else:
            pairs.append((image, tuple(group)))
    alone = [mask for group in groups.values() for mask in group]
    refusals += [Refusal(Code.MASK_MISSING, mask, "is a mask without an image") for mask in alone]
    return pairs, refusals


def hashed_id(prefix: str, own_name: str, image: Path) -> str:
    """A stable case id for a dataset whose own names tell the class, which test cases hide.

    The image file enters too: a few hundred names are soon hashed by anyone who guesses them.
    """
    digest = hashlib.sha256(own_name.encode() + b"\0")
    digest.update(image.read_bytes())
    return f"{prefix}_{digest.hexdigest()[:10]}"
