"""The results that a plot shows, and what each is called in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import get_args
from unicodedata import east_asian_width

from evaluator.documents.base import Label
from evaluator.harmless import harmless
from evaluator.scoring.groups import SIZES
from harness.ranking import Row, Track
from harness.ranking.metrics import MISSING
from harness.website.rendering import count, group_title

TITLE = 30  # characters of a scanner
MOST = 30  # results: beyond that a plot is no longer read
PARTS = (*get_args(Label), *SIZES)


@dataclass(frozen=True)
class Shown:
    """The results that a plot shows, first ranked first."""

    track: Track
    rows: tuple[Row, ...]
    characters: int  # at most, of a name

    @property
    def labels(self) -> list[str]:
        """How each is called in a plot: its method, and where that is not enough, more."""
        names = [short(row.method, self.characters) for row in self.rows]
        teams = (short(row.team, self.characters) for row in self.rows)
        names = _apart(names, teams)
        return _apart(names, (str(row.entry) for row in self.rows))

    def each(self) -> Iterator[tuple[str, Row]]:
        """Label and row of each."""
        return zip(self.labels, self.rows, strict=True)

    @property
    def cut(self) -> str:
        """What is left out, in a sentence; empty where nothing is."""
        ranked = len(self.track.ranked)
        return f"The first {len(self.rows)} of {ranked}." if ranked > len(self.rows) else ""

    @property
    def size(self) -> str:
        """How many images and patients everything is computed from, in a sentence."""
        found = self.rows[0].groups["all"]
        return f"{count(found.cases, 'test image')} of {count(found.patients, 'patient')}."

    @property
    def parts(self) -> dict[str, str]:
        """The classes, quarters of lesion size, scanners and grades of any of them, by title.

        A title ends in how many images there are of its part.
        """
        there = {name: found.cases for row in self.rows for name, found in row.groups.items()}
        named = sorted(name for name in there if name.startswith(("device ", "birads ")))
        parts = [part for part in (*PARTS, *named) if part in there]
        titles = [f"{short(group_title(part), TITLE)} ({there[part]})" for part in parts]
        return dict(zip(_apart(titles, map(str, range(len(parts)))), parts, strict=True))


def _apart(names: list[str], more: Iterable[str]) -> list[str]:
    """The names, with something more where two are the same: a plot would take them for one."""
    count = Counter(names)
    pairs = zip(names, more, strict=True)
    return [name if count[name] == 1 else f"{name} · {end}" for name, end in pairs]


def short(name: str, characters: int) -> str:
    """The start of a name, as wide as so many letters; an emoji or an ideograph takes two.

    Cut here, and not by the charts' library: that would cut an emoji in halves, and fail over it.
    """
    text = harmless(name).strip() or MISSING
    ends = list(accumulate(1 + (east_asian_width(character) in "WF") for character in text))
    return text if ends[-1] <= characters else text[: sum(end < characters for end in ends)] + "…"
