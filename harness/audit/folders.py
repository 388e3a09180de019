"""Splits in folders: one list of names a part, or a tree of image files."""

from __future__ import annotations

import re
from pathlib import Path

from evaluator.errors import BusbenchError, Code
from harness.audit.lists import TABLES, TEXTS, names_in
from harness.audit.naming import ImageName
from harness.audit.tables import Named, NamedSplits
from harness.audit.words import NUMBERED, Part, Titled, fold_name, titled
from harness.datasets.layout import IMAGE_SUFFIXES, files_below, is_litter
from harness.datasets.medical import SUFFIXES as MEDICAL

MASKS = {
    *("mask", "masks", "label", "labels", "gt", "gts", "truth", "groundtruth", "annotation"),
    *("annotations", "annot", "segmentation", "segmentations", "seg", "lesion", "lesions"),
}
MASK_STEM = re.compile(r"[_-](mask|gt|label|seg|tumou?r|other)[_-]?\d*$", re.IGNORECASE)
Files = dict[str, Path]  # name in a split -> its file


def lists_below(folder: Path) -> list[Path]:
    """The files in a folder, and those below it, that are lists of one part."""
    kinds = (*TEXTS, *TABLES, ".json")
    files = (path for path in files_below(folder) if path.is_file() and not is_litter(path))
    return sorted(p for p in files if p.suffix.lower() in kinds and titled(p.stem).part)


def read_lists(folder: Path, lists: list[Path]) -> NamedSplits:
    """The splits that lists form: `train.txt`, `busi_val1.txt`, `fold2/test.txt`.

    What is outside all folds belongs to each of them.

    Raises:
        BusbenchError: `split-invalid` where two lists are of one part.
    """
    splits: NamedSplits = {}
    for path in lists:
        said = titled(path.stem)
        outer = [p for p in path.relative_to(folder).parts[:-1] if NUMBERED.fullmatch(p)]
        named = splits.setdefault(_label(outer, said), {})
        if not said.part or said.part in named:
            message = f"{folder} contains two lists of one part, one of them {path}."
            remedy = "Name each list: --split train=FILE --split test=FILE."
            raise BusbenchError(Code.SPLIT_INVALID, message, remedy)
        named[said.part] = names_in(path)
    return _with_common(splits)


def _label(outer: list[str], said: Titled) -> str:
    numbers = tuple(word for word in said.rest if word.isdecimal())
    return " ".join(outer) or fold_name(numbers)


def _with_common(splits: NamedSplits) -> NamedSplits:
    """Each fold with the parts that all share, such as one test part."""
    common = splits.get("", {})
    folds = {name: {**common, **named} for name, named in splits.items() if name}
    return {"": common, **folds} if len(common) > 1 else folds or splits


def tree(folder: Path) -> tuple[NamedSplits, Files]:
    """The splits that folders of images form: `train/images/`, `imagesTr/`, `fold1/test/`."""
    splits: NamedSplits = {}
    files = images_below(folder)
    for name in files:
        folders = name.split("/")[:-1]
        said = [titled(part) for part in folders if not NUMBERED.fullmatch(part)]
        parts = [one for one in said if one.part]
        if parts:
            part = parts[-1].part
            outer = [part for part in folders if NUMBERED.fullmatch(part)]
            named: Named = splits.setdefault(_label(outer, parts[-1]), {})
            if part:
                named.setdefault(part, []).append(name)
    return _with_common(splits), files


def images_below(folder: Path) -> Files:
    """The image files below a folder by relative name; masks are left out."""
    suffixes = (*IMAGE_SUFFIXES, *MEDICAL)
    found = (p for p in files_below(folder) if p.is_file() and not is_litter(p))
    names = {path.relative_to(folder).as_posix(): path for path in found}
    return {
        name: path
        for name, path in sorted(names.items())
        if name.lower().endswith(suffixes)
        and not any(map(_has_masks, name.split("/")[:-1]))
        and not MASK_STEM.search(ImageName.of(name).stem)
    }


def _has_masks(folder: str) -> bool:
    """Whether a folder's name ends with a word for masks; "with GT" has images, too."""
    words = titled(folder).rest
    return bool(words) and words[-1] in MASKS and "with" not in words


def part_files(part: Part, folder: Path) -> tuple[list[str], Files]:
    """The image files of a folder that is one part's own."""
    files = {f"{part}/{name}": path for name, path in images_below(folder).items()}
    return list(files), files
