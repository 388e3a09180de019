"""How does the site write numbers, groups of cases and counts?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

from harness.ledger import Instant

Value = TypeVar("Value")

GROUPS = {
    "all": "All images",
    "lesion": "Lesion images",
    "normal": "Normal images",
    "benign": "Benign",
    "malignant": "Malignant",
    "Q1": "Q1, smallest",
    "Q2": "Q2",
    "Q3": "Q3",
    "Q4": "Q4, largest",
}


ORDER = (*GROUPS, "train", "test")


def in_order(named: Mapping[str, Value]) -> list[tuple[str, Value]]:
    """Groups of cases, or parts of a split, as people would list them; others follow by name."""
    known = {name: place for place, name in enumerate(ORDER)}
    return sorted(named.items(), key=lambda item: (known.get(item[0], len(known)), item[0]))


def group_title(name: str) -> str:
    """How a group of `evaluator.scoring.groups` is called."""
    return GROUPS.get(name) or name.removeprefix("device ")


def count(number: int, noun: str) -> str:
    """`1 image`, `2 images`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}".replace(",", " ")


def heading(title: str) -> str:
    """A column's heading, its arrow never alone on a line."""
    return re.sub(" ([↑↓])", "\u00a0\\1", title)


def day(instant: Instant) -> str:
    """The day, UTC, of a time in the ledger."""
    return instant[: len("2026-01-31")]


def millions(number: int) -> str:
    """Parameters, in millions."""
    return f"{number / 1e6:.2f} M"


def gflops(gmacs: float) -> str:
    """GFLOPs from GMACs, to three digits: a multiplication and an addition are two operations."""
    value = 2 * gmacs
    return f"{value:.{3 if value < 1 else 2 if value < 10 else 1 if value < 100 else 0}f}"


def short(value: float) -> str:
    """A number of any size, to four digits or so."""
    digits = 3 if abs(value) < 10 else 2 if abs(value) < 100 else 1
    return f"{value:.{digits}f}"
