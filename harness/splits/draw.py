"""Which case goes to which part and fold? A pure function of the cases, the groups and a seed.

Nothing else enters: not the order of files, not the machine, not the hash seed, not a library
that may draw another way tomorrow. `RULES` names the rules; it changes when a draw would.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from evaluator.contract import Label, Policy
from evaluator.errors import BusbenchError
from evaluator.files import canonical_json
from harness.splits.balance import share_out

RULES = "splits-1"
STARTS = 32  # orders of dealing, of which the best is kept; matters where groups are few
Part = Literal["train", "test"]
Group = tuple[str, ...]  # case ids that must not stand on two sides, sorted


@dataclass(frozen=True)
class Subject:
    """What a draw may know of a case."""

    case_id: str
    label: Label
    area: int  # of the lesion, in pixels; 0 where there is none


@dataclass(frozen=True)
class Place:
    """Where a case stands."""

    part: Part
    fold: int | None  # of the training part; None for a test case


def draw(
    subjects: Iterable[Subject],
    groups: Iterable[Group],
    *,
    policy: Policy = "patient",
    test_fraction: float = 0.2,
    folds: int = 5,
    seed: int = 42,
) -> dict[str, Place]:
    """Give every case a part, and every training case a fold.

    The held-out part is drawn first and alone, so that another number of folds leaves it as it is.

    Args:
        groups: as from `whole_groups`; only policy `patient` keeps them whole.

    Raises:
        BusbenchError: `split-impossible` where a part or a fold would stay empty.
    """
    ordered = sorted(subjects, key=lambda subject: subject.case_id)
    places = POLICIES[policy](ordered, list(groups), test_fraction, folds, seed)
    wanted = {Place("test", None), *(Place("train", fold) for fold in range(folds))}
    if wanted - set(places.values()):
        raise _impossible(f"{len(ordered)} cases leave a part or a fold empty")
    return places


def whole_groups(case_ids: Iterable[str], joined: Iterable[Sequence[str]]) -> tuple[Group, ...]:
    """The audit's groups, and every other case as a group of its own; by smallest case id.

    Raises:
        ValueError: a case stands in two groups, or in one but not among the cases.
    """
    known = set(case_ids)
    groups = [tuple(sorted(group)) for group in joined if group]
    members = [case_id for group in groups for case_id in group]
    if len(set(members)) < len(members) or not known.issuperset(members):
        raise ValueError("groups overlap or name unknown cases")
    alone = known.difference(members)
    return tuple(sorted([*groups, *((case_id,) for case_id in alone)]))


def quartiles(subjects: Sequence[Subject]) -> dict[str, int]:
    """Quartile of each case's lesion area, 1 to 4 over all cases with a lesion; 0 without one.

    Cases of equal area share a quartile: that of the first of them.
    """
    areas = sorted(subject.area for subject in subjects if subject.area)
    first = {area: rank for rank, area in reversed(list(enumerate(areas)))}
    return {s.case_id: 1 + 4 * first[s.area] // len(areas) if s.area else 0 for s in subjects}


def _by_patient(
    subjects: Sequence[Subject],
    groups: Sequence[Group],
    test_fraction: float,
    folds: int,
    seed: int,
) -> dict[str, Place]:
    """Groups stay whole; cases, groups, classes and lesion-size quartiles are balanced."""
    share = Fraction(str(test_fraction)).limit_denominator(1000)
    traits = _traits(subjects)
    shares = (share.numerator, share.denominator - share.numerator)
    test, train = _split(groups, traits, shares, seed)
    places = {case_id: Place("test", None) for group in test for case_id in group}
    for fold, members in enumerate(_split(train, traits, (1,) * folds, seed)):
        places |= {case_id: Place("train", fold) for group in members for case_id in group}
    return places


def _traits(subjects: Sequence[Subject]) -> dict[str, tuple[str, ...]]:
    """What each case counts in: the size of a part, its classes, its quartiles, and both at once.

    Quartiles are those of all cases, in the folds too, since every part should look like the whole.
    """
    quartile = quartiles(subjects)
    return {
        s.case_id: ("case", s.label, f"Q{quartile[s.case_id]}", f"{s.label} Q{quartile[s.case_id]}")
        for s in subjects
    }


def _split(
    groups: Sequence[Group], traits: Mapping[str, Sequence[str]], shares: Sequence[int], seed: int
) -> list[list[Group]]:
    """Share the groups out; a group counts once as a group, then with the traits of its cases."""
    if not groups:
        return [[] for _ in shares]
    names = sorted({name for group in groups for case_id in group for name in traits[case_id]})
    tallies = [Counter(n for case_id in group for n in traits[case_id]) for group in groups]
    counts = np.array([[1, *(tally[name] for name in names)] for tally in tallies], dtype=np.int64)
    orders = (_order(groups, seed, start) for start in range(STARTS))
    parts = share_out(counts, shares, orders)
    return [
        [group for group, part in zip(groups, parts, strict=True) if part == number]
        for number in range(len(shares))
    ]


def _order(groups: Sequence[Group], seed: int, start: int) -> list[int]:
    """An order of the groups by chance, which no group's place in any listing has a part in."""

    def chance(row: int) -> bytes:
        return hashlib.sha256(canonical_json([RULES, seed, start, *groups[row]])).digest()

    return sorted(range(len(groups)), key=chance)


def _impossible(why: str) -> BusbenchError:
    remedy = "Ask for fewer folds or another test fraction, or add cases of more patients."
    return BusbenchError("split-impossible", f"The split cannot be drawn: {why}.", remedy)


_Rule = Callable[[Sequence[Subject], Sequence[Group], float, int, int], dict[str, Place]]
POLICIES: dict[Policy, _Rule] = {"patient": _by_patient}
