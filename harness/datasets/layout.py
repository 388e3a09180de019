"""Folders, files, tables and partners of a release on disk, for all adapters."""

from __future__ import annotations

import csv
import hashlib
import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

from evaluator.errors import BusbenchError, Code
from harness.datasets.base import Refusal

if TYPE_CHECKING:
    import pandas as pd

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
NESTING = 4  # folders an unpacked archive may wrap around the layout


UNPACK = "Unpack the release as downloaded and name its folder with --raw."


def find_root(raw: Path, wanted: tuple[str, ...], dataset: str, *, remedy: str = UNPACK) -> Path:
    """The folder at or below `raw` with all `wanted` entries, however deep it was unpacked.

    Raises:
        BusbenchError: `raw-missing` where there is none, or more than one.
    """
    level, found, seen = [raw], list[Path](), {raw.resolve()}
    for _ in range(NESTING + 1):
        found = [folder for folder in level if all((folder / name).exists() for name in wanted)]
        if found:
            break
        level = [child for folder in level for child in _folders(folder, seen)]
    if len(found) == 1:
        return found[0]
    names = " and ".join(wanted)
    if found:
        message = f"{raw} contains {len(found)} folders with {names}: {found[0]}, {found[1]}."
        raise BusbenchError(Code.RAW_MISSING, message, "Name one of them with --raw.")
    message = f"{raw} is not the {dataset} folder: it contains no {names}."
    raise BusbenchError(Code.RAW_MISSING, message, remedy)


def _folders(folder: Path, seen: set[Path]) -> list[Path]:
    """The folders in a folder that were not seen before, by whatever link."""
    if not folder.is_dir():
        return []
    inside = [p for p in sorted(folder.iterdir()) if p.is_dir() and not is_litter(p)]
    fresh = [p for p in inside if p.resolve() not in seen]
    seen |= {p.resolve() for p in fresh}
    return fresh


def files_below(raw: Path) -> Iterator[Path]:
    """Every file below a folder, links to folders followed, each real folder once.

    Raises:
        BusbenchError: `data-refused` where a name is not UTF-8: no table could name it.
    """
    seen = {raw.resolve()}
    for folder, inside, names in os.walk(raw, followlinks=True):
        here = Path(folder)
        inside[:] = sorted(n for n in inside if (here / n).resolve() not in seen)
        seen |= {(here / name).resolve() for name in inside}
        for name in (*inside, *names):
            if any(0xDC80 <= ord(character) <= 0xDCFF for character in name):
                shown = os.fsencode(here / name).decode("utf-8", "backslashreplace")
                message = f"{shown} has a name that is not UTF-8."
                raise BusbenchError(Code.DATA_REFUSED, message, "Rename it, then try again.")
        yield from (here / name for name in names)


def is_litter(path: Path) -> bool:
    """Whether an operating system left it there: `.DS_Store`, `__MACOSX`, `Thumbs.db`."""
    return path.name.startswith(".") or path.name in ("__MACOSX", "Thumbs.db")


def files_in(folder: Path) -> list[Path]:
    """All image files of a folder, sorted by name.

    Where it contains nothing but one folder, as mirrors of a release have it, those of that folder.
    """
    for _ in range(NESTING + 1):
        inside = [p for p in folder.iterdir() if not is_litter(p)] if folder.is_dir() else []
        if len(inside) != 1 or not inside[0].is_dir():
            break
        folder = inside[0]
    return sorted(p for p in inside if p.is_file() and p.suffix.lower() in IMAGE_SUFFIXES)


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


SEPARATORS = ",;\t|"
SHOWN = 80  # characters of a table in a message
ENCODINGS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}


def read_table(
    path: Path, columns: tuple[str, ...], optional: tuple[str, ...] | None = None
) -> Table:
    """A CSV or Excel file (its first sheet) as spreadsheets write it; an empty cell is "".

    Columns may be separated by a comma, semicolon, tab or bar; the text is UTF-8 or UTF-16; the
    case of the columns' names does not matter. Empty rows are none.

    Args:
        optional: the other columns that it may have; null for any.

    Raises:
        BusbenchError: `raw-missing` where it is missing, not a table, lacks a column, or has one
            twice or one that is not known.
    """
    remedy = "Correct it, or restore it where it came with a release."
    cells = _cells(path, columns, remedy)
    known = {name.casefold(): name for name in (*columns, *(optional or ()))}
    heads = [known.get(cell.strip().casefold(), cell.strip()) for cell in cells.iloc[0]]
    used = [
        index for index, head in enumerate(heads) if head or (cells.iloc[1:, index] != "").any()
    ]
    heads = [heads[index] for index in used]
    problem = _wrong_heads(heads, columns, optional)
    if problem is not None:
        raise BusbenchError(Code.RAW_MISSING, f"{path} {problem}.", remedy)
    texts = (tuple(map(str.strip, row)) for row in cells.iloc[1:, used].itertuples(index=False))
    return Table(path, tuple(dict(zip(heads, row, strict=True)) for row in texts if any(row)))


def _wrong_heads(
    heads: list[str], columns: tuple[str, ...], optional: tuple[str, ...] | None
) -> str | None:
    """What is wrong with a table's columns, as the rest of a sentence; None where nothing is."""
    missing = [name for name in columns if name not in heads]
    if missing:
        seen = ", ".join(map(repr, heads))
        seen = seen if len(seen) <= SHOWN else f"{seen[:SHOWN]} ..."
        return f"has no column {', '.join(missing)} in its first line, which has {seen or 'none'}"
    twice = [name for name, count in Counter(heads).items() if count > 1]
    if twice:
        return f"has the column {twice[0]} twice"
    known = (*columns, *(optional or ()))
    for head in heads if optional is not None else ():
        if head not in known:
            near = get_close_matches(head.casefold(), known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else "which is not read"
            return f"has the unknown column {head!r}, {hint}; known are {', '.join(known)}"
    return None


def _cells(path: Path, columns: tuple[str, ...], remedy: str) -> pd.DataFrame:
    """All cells of a table as text, its head among them."""
    import pandas as pd  # noqa: PLC0415  takes a second to import

    try:
        if path.suffix.lower() == ".xlsx":
            frame = pd.read_excel(path, header=None, dtype=str, na_filter=False, engine="openpyxl")
        else:
            text = read_text(path)
            separator = _separator(text.partition("\n")[0], columns)
            _require_whole_rows(text, separator)
            frame = pd.read_csv(
                StringIO(text), sep=separator, header=None, dtype=str, na_filter=False
            )
    except FileNotFoundError as error:
        raise BusbenchError(Code.RAW_MISSING, f"{path} is missing.", remedy) from error
    except UnicodeDecodeError as error:
        message = f"{path} is neither UTF-8 nor UTF-16 text (byte {error.start + 1})."
        remedy = 'Save it as "CSV UTF-8", which spreadsheets offer beside plain CSV.'
        raise BusbenchError(Code.RAW_MISSING, message, remedy) from error
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        why = (str(error).strip().splitlines() or ["it cannot be read"])[-1]
        message = f"{path} is not a table: {why.rpartition('error: ')[2].rstrip('.')}."
        raise BusbenchError(Code.RAW_MISSING, message, remedy) from error
    return frame.fillna("")


def _require_whole_rows(text: str, separator: str) -> None:
    """Refuse a row that ends early: a patient would be unknown, and could be in two parts."""
    rows = csv.reader(StringIO(text), delimiter=separator)
    wanted = len(next(rows, ()))
    for number, row in enumerate(rows, start=2):
        if len(row) < wanted and any(map(str.strip, row)):
            raise ValueError(f"row {number} has {len(row)} of {wanted} columns")


def read_text(path: Path) -> str:
    """The text of a table or list, without the line in which a spreadsheet names its separator."""
    text = decoded(path)
    return text.partition("\n")[2] if text.casefold().startswith("sep=") else text


def decoded(path: Path) -> str:
    """A file's text, in the encoding that its first bytes name, else in UTF-8."""
    data = path.read_bytes()
    encoding = next((ENCODINGS[mark] for mark in ENCODINGS if data.startswith(mark)), "utf-8")
    return data.decode(encoding)


def _separator(head: str, columns: tuple[str, ...]) -> str:
    """The separator that finds most of `columns` in a table's first line, else the commonest."""
    wanted = {name.casefold() for name in columns}

    def found(separator: str) -> tuple[int, int]:
        cells = {cell.strip(' "\r').casefold() for cell in head.split(separator)}
        return len(wanted & cells), head.count(separator)

    return max(SEPARATORS, key=found)


def named_file(root: Path, text: str) -> Path:
    """The file that a table names, below `root`.

    Backslashes separate folders, too; a name in another Unicode form or in another case is found
    where only one file has it. A file that is not there is the path as it was named.
    """
    parts = [part for part in text.replace("\\", "/").split("/") if part not in ("", ".")]
    path = root.joinpath(*parts)
    if Path(text).is_absolute():
        inside = Path(text).resolve().is_relative_to(root.resolve())
        path = root / Path(text).resolve().relative_to(root.resolve()) if inside else Path(text)
    if path.is_file() or not path.parent.is_dir():
        return path
    alike = [child for child in path.parent.iterdir() if _folded(child.name) == _folded(path.name)]
    return alike[0] if len(alike) == 1 else path


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


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
