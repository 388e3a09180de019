"""Splits in lists of names: text files, nnU-Net's folds, MONAI's datalists, COCO's images."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluator.errors import BusbenchError, Code
from harness.audit.naming import SUFFIXES
from harness.audit.tables import Named, NamedSplits, names_in_table
from harness.audit.words import part_of
from harness.datasets.layout import read_text

TEXTS = (".txt", ".lst", ".list")
TABLES = (".csv", ".tsv", ".xlsx")
FILE = re.compile(rf"(.+?(?:{'|'.join(map(re.escape, SUFFIXES))}))(?=[\s,;]|$)", re.IGNORECASE)
REMEDY = (
    "Give lists of names, nnU-Net's splits_final.json, or a datalist with the keys training, "
    "validation and test."
)


def names_in(path: Path) -> list[str]:
    """The names in a list that is one part's own: a line or an entry each.

    Raises:
        BusbenchError: `split-invalid` where it is no list.
    """
    suffix = path.suffix.lower()
    if suffix in TABLES:
        return names_in_table(path)
    if suffix == ".json":
        data = _json(path)
        return _names(path, data.get("images") if isinstance(data, dict) else data)
    try:
        lines = read_text(path).splitlines()
    except (OSError, ValueError) as error:
        raise _refuse(path, "is no list of names") from error
    return [_first(line) for line in lines if line.strip()]


def _first(line: str) -> str:
    """The image of a line; a mask after it is left out. Names may contain spaces and commas."""
    file = FILE.match(line.strip())
    return file[1] if file else line.strip()


def read_json(path: Path) -> NamedSplits:
    """The splits of a JSON file: a list or mapping of folds, or one mapping from parts to names.

    Raises:
        BusbenchError: `split-invalid` where it is neither.
    """
    data = _json(path)
    if isinstance(data, list) and data and all(isinstance(fold, dict) for fold in data):
        return {f"fold {number}": _parts(path, fold) for number, fold in enumerate(data)}
    folds = data.items() if isinstance(data, dict) else ()
    if folds and all(isinstance(fold, dict) for _, fold in folds):
        return {name: _parts(path, fold) for name, fold in folds}
    if isinstance(data, dict):
        return {"": _parts(path, data), **_inner_folds(path, data)}
    raise _refuse(path, "is no split")


def _parts(path: Path, data: Mapping[str, Any]) -> Named:
    named: Named = {}
    for key, value in data.items():
        part = part_of(key)
        if part and isinstance(value, list):
            named[part] = [*named.get(part, ()), *_names(path, value)]
    if not named:
        raise _refuse(path, "names no part of a split")
    return named


def _inner_folds(path: Path, data: Mapping[str, Any]) -> NamedSplits:
    """MONAI's folds: each entry of the training list says in which it is held out."""
    entries = [
        (str(entry["fold"]), _names(path, [entry])[0])
        for key, value in data.items()
        if part_of(key) == "train" and isinstance(value, list)
        for entry in value
        if isinstance(entry, dict) and "fold" in entry
    ]
    folds = sorted({fold for fold, _ in entries}, key=lambda fold: (len(fold), fold))
    return {
        f"fold {fold}": {
            "train": [name for other, name in entries if other != fold],
            "val": [name for other, name in entries if other == fold],
        }
        for fold in folds
    }


def _names(path: Path, entries: object) -> list[str]:
    """The names of a list whose entries are names, or mappings that hold the image's."""
    if not isinstance(entries, list):
        raise _refuse(path, "is no list of names")
    names = []
    for entry in entries:
        name = entry
        if isinstance(entry, dict):
            name = next((entry[k] for k in ("image", "file_name", "filename") if k in entry), None)
        if isinstance(name, list) and len(name) == 1:  # channels
            name = name[0]
        if not isinstance(name, str):
            raise _refuse(path, f"has an entry that names no image, {str(entry)[:60]}")
        names.append(name)
    return names


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise _refuse(path, "cannot be read as JSON") from error


def _refuse(path: Path, what: str) -> BusbenchError:
    return BusbenchError(Code.SPLIT_INVALID, f"{path} {what}.", REMEDY)
