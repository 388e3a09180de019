"""The draw: part and fold of each case, a pure function of the cases, the groups and a seed.

Nothing else enters: not the order of files, not the machine, not the hash seed, not a library
that may draw another way tomorrow. `RULES` names the rules; it changes when a draw would.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, TypeAlias

import numpy as np

from evaluator.documents.base import Label
from evaluator.errors import BusbenchError, Code
from evaluator.files import canonical_json
from evaluator.scoring.groups import size_quartiles
from harness.challenge import HiddenPart
from harness.splits.balance import share_out
from harness.splits.by_image import stratified
from harness.splits.lock import Policy

RULES = "splits-1"
STARTS = 32  # orders of dealing, of which the best is kept; matters where groups are few
Part: TypeAlias = Literal["train"] | HiddenPart
Group = tuple[str, ...]  # case ids that must be on one side, sorted


@dataclass(frozen=True)
class Subject:
    """What a draw may know of a case."""

    case_id: str
    label: Label
    area: int  # of the lesion, in pixels; 0 where there is none
    source: str = (
        ""  # the image's place in the release, whose sorted listing the Awesome-BUS rule takes
    )


@dataclass(frozen=True)
class _Task:
    """What a policy has to go by; cases by case id, groups by smallest case id."""

    subjects: tuple[Subject, ...]
    groups: tuple[Group, ...]
    test_fraction: float
    final_fraction: float | None
    folds: int
    seed: int


@dataclass(frozen=True)
class Assignment:
    """Part and fold of a case."""

    part: Part
    fold: int | None  # of the training part; None for a hidden case


def draw(
    subjects: Iterable[Subject],
    groups: Iterable[Sequence[str]],
    *,
    policy: Policy = "patient",
    test_fraction: float = 0.2,
    final_fraction: float | None = None,
    folds: int = 5,
    seed: int = 42,
) -> dict[str, Assignment]:
    """Give every case a part, and every training case a fold.

    The hidden part is drawn first and alone, so that another number of folds leaves it as it is,
    and so does a final part, which is drawn from it.

    Args:
        final_fraction: the share of the hidden cases that only the end of the challenge is scored
            on; None: all are for testing. Policy `image`, which is for old tables, has none.
        groups: of case ids that belong together; a case without one is a group of its own. Only
            policy `patient` keeps them whole.

    Raises:
        BusbenchError: `split-impossible` where a part or a fold would stay empty.
        ValueError: groups overlap, or name a case that is not there.
    """
    cases = tuple(sorted(subjects, key=lambda subject: subject.case_id))
    whole = whole_groups([case.case_id for case in cases], groups)
    task = _Task(cases, whole, test_fraction, final_fraction, folds, seed)
    places = POLICIES[policy](task)
    hidden: tuple[HiddenPart, ...] = ("test",) if final_fraction is None else ("test", "final")
    wanted = {Assignment(part, None) for part in hidden}
    wanted |= {Assignment("train", fold) for fold in range(folds)}
    if wanted - set(places.values()):
        raise _impossible(f"{len(cases)} cases in {len(whole)} groups leave a part or a fold empty")
    return places


def whole_groups(case_ids: Iterable[str], joined: Iterable[Sequence[str]]) -> tuple[Group, ...]:
    """The audit's groups, and every other case as a group of its own; by smallest case id.

    Raises:
        ValueError: a case is in two groups, or in one but not among the cases.
    """
    known = set(case_ids)
    groups = [tuple(sorted(group)) for group in joined if group]
    members = [case_id for group in groups for case_id in group]
    if len(set(members)) < len(members) or not known.issuperset(members):
        raise ValueError("groups overlap or name unknown cases")
    alone = known.difference(members)
    return tuple(sorted([*groups, *((case_id,) for case_id in alone)]))


def quartiles(subjects: Sequence[Subject]) -> dict[str, int]:
    """Quartile of each case's lesion area, by the rule of `evaluator.scoring.groups`."""
    return size_quartiles({subject.case_id: subject.area for subject in subjects})


def _by_patient(task: _Task) -> dict[str, Assignment]:
    """Groups stay whole; cases, groups, classes and lesion-size quartiles are balanced."""
    traits = _traits(task.subjects)
    hidden, train = _split(task.groups, traits, _shares(task.test_fraction), seed=task.seed)
    places = {case_id: Assignment("test", None) for group in hidden for case_id in group}
    if task.final_fraction is not None:
        final, _ = _split(hidden, traits, _shares(task.final_fraction), seed=task.seed)
        places |= {case_id: Assignment("final", None) for group in final for case_id in group}
    for fold, members in enumerate(_split(train, traits, (1,) * task.folds, seed=task.seed)):
        places |= {case_id: Assignment("train", fold) for group in members for case_id in group}
    return places


def _shares(fraction: float) -> tuple[int, int]:
    """A part and the rest, as whole numbers."""
    share = Fraction(str(fraction)).limit_denominator(1000)
    if share in (0, 1):
        raise _impossible(f"{fraction} of the cases is nothing, or all")
    return share.numerator, share.denominator - share.numerator


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
    groups: Sequence[Group],
    traits: Mapping[str, Sequence[str]],
    shares: Sequence[int],
    *,
    seed: int,
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


def _by_image(task: _Task) -> dict[str, Assignment]:
    """The Awesome-BUS benchmark's rule: classes are balanced, and patients are divided."""
    if task.final_fraction is not None:
        raise _impossible("the Awesome-BUS benchmark's rule knows no final part")
    listed = sorted(task.subjects, key=lambda subject: (subject.source, subject.case_id))
    labels = [subject.label for subject in listed]
    try:
        drawn = stratified(labels, task.test_fraction, task.folds, seed=task.seed)
    except ValueError as error:
        raise _impossible(str(error)) from error
    return {
        subject.case_id: Assignment("test" if fold is None else "train", fold)
        for subject, fold in zip(listed, drawn, strict=True)
    }


def _impossible(why: str) -> BusbenchError:
    remedy = "Ask for fewer folds or another test fraction, or add cases of more patients."
    return BusbenchError(Code.SPLIT_IMPOSSIBLE, f"The split cannot be drawn: {why}.", remedy)


POLICIES: dict[Policy, Callable[[_Task], dict[str, Assignment]]] = {
    "patient": _by_patient,
    "image": _by_image,
}
