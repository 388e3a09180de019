"""Words by which published splits call their parts, folds and columns."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Part = Literal["train", "val", "test", "final"]
PARTS: dict[str, Part] = {
    **dict.fromkeys(("train", "training", "trn", "tr"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "vali"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "ts", "te", "holdout"), "test"),
}  # not "dev": it is the training part to some, and the validation part to others
CELLS: dict[str, Part] = {**PARTS, "final": "final"}  # in a file's name, that is a version
NUMBERED = re.compile(r"(fold|split|cv|run|round)[ _-]?\d+", re.IGNORECASE)
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")


@dataclass(frozen=True)
class Titled:
    """What the name of a file, folder or column says: a part, and which fold it is of."""

    part: Part | None
    rest: tuple[str, ...]  # the other words, lower case


def titled(text: str) -> Titled:
    """The one part that a name states: `busi_train1`, `imagesTr`; none where it states two."""
    words = [word.lower() for word in _WORDS.findall(text)]
    parts = {PARTS[word] for word in words if word in PARTS}
    rest = tuple(word for word in words if word not in PARTS)
    return Titled(parts.pop() if len(parts) == 1 else None, rest)


def fold_name(words: Iterable[str]) -> str:
    """The name of a fold: "fold 1" where nothing but a number is known of it."""
    name = " ".join(words)
    return f"fold {name}" if name.isdecimal() else name


def part_of(value: str) -> Part | None:
    """The part that a cell or key names, in any case; None where it is no such word."""
    return CELLS.get(re.sub(r"[\s_-]|set$", "", value.casefold()))
