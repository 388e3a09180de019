"""Published splits in whatever form they came: names by part, not matched to any case yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from evaluator.errors import BusbenchError, Code
from harness.audit.folders import Files, lists_below, part_files, read_lists, tree
from harness.audit.lists import TABLES, TEXTS, names_in, read_json
from harness.audit.tables import NamedSplits, read_csv
from harness.audit.words import part_of
from harness.datasets.layout import files_below

OURS, NNUNET = "split.csv", "splits_final.json"
FOLDS = "folds"
REMEDY = (
    "Give a table, nnU-Net's splits_final.json, a folder of name lists or of images by part, or a "
    "list or folder for each part: --split train=PATH --split test=PATH."
)


@dataclass(frozen=True)
class Source:
    """What a published split says, before its names are matched."""

    name: str
    kind: str
    splits: NamedSplits
    files: Files = field(default_factory=dict)  # image files by name, where it has them
    whole: bool = True  # whether it is of a form that names test cases, too


def read_source(given: Sequence[str]) -> Source:
    """What was given, read by what it is.

    Args:
        given: a file or folder, or for each part a list or folder, as `train=PATH`.

    Raises:
        BusbenchError: `usage` where a path is missing, `split-invalid` where it is no split.
    """
    if len(given) == 1 and (Path(given[0]).exists() or "=" not in given[0]):
        path = _existing(given[0])
        return _folder(path) if path.is_dir() else _file(path)
    splits: NamedSplits = {"": {}}
    files: Files = {}
    for text in given:
        word, _, place = text.partition("=")
        part = part_of(word)
        if part is None or not place or part in splits[""]:
            message = f"--split {text} names no part of its own; parts are train, val and test."
            raise BusbenchError(Code.USAGE, message, REMEDY)
        path = _existing(place)
        splits[""][part], found = part_files(part, path) if path.is_dir() else (names_in(path), {})
        files |= found
    return Source(" ".join(given), "a list or folder for each part", splits, files)


def _existing(text: str) -> Path:
    path = Path(text)
    if not path.exists():
        raise BusbenchError(Code.USAGE, f"--split {text} does not exist.", REMEDY)
    return path


def _file(path: Path) -> Source:
    suffix = path.suffix.lower()
    if suffix == ".json":
        splits = read_json(path)
        # nnU-Net's folds are of the training part: they name no test case.
        folds = "" not in splits and not any("test" in parts for parts in splits.values())
        return Source(path.name, FOLDS if folds else "datalist", splits, whole=not folds)
    if suffix in TABLES:
        return Source(path.name, "table", read_csv(path))
    what = "the list of one part" if suffix in TEXTS else "no split"
    raise BusbenchError(Code.SPLIT_INVALID, f"{path} is {what}.", REMEDY)


def _folder(folder: Path) -> Source:
    """A folder's split, where it contains one and no other."""
    found = [replace(_file(path), name=folder.name) for path in (folder / OURS,) if path.is_file()]
    found += [_file(path) for path in files_below(folder) if path.name == NNUNET]
    lists = lists_below(folder)
    if lists:
        found.append(Source(folder.name, "lists of names", read_lists(folder, lists)))
    splits, files = tree(folder)
    if any(splits.values()):
        images = Source(folder.name, "folders of images", splits, files)
        folds = [source for source in found if source.kind == FOLDS]
        # nnU-Net's dataset has both: the folds of its training part, and a test part's images.
        found = [_joined(images, folds[0])] if found == folds != [] else [*found, images]
    if len(found) == 1:
        return found[0]
    kinds = " and ".join(source.kind for source in found)
    what = f"several splits ({kinds})" if found else "no split"
    raise BusbenchError(Code.SPLIT_INVALID, f"{folder} contains {what}.", REMEDY)


def _joined(images: Source, folds: Source) -> Source:
    whole = any("test" in parts for parts in images.splits.values())
    kind = "folds and folders of images"
    splits = {**images.splits, **folds.splits}
    return replace(images, kind=kind, splits=splits, whole=whole)
