"""Leak of a split by its rule, and of the same cases drawn by the other rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from evaluator.errors import BusbenchError, Code
from harness.audit import AuditReport, judge
from harness.splits import FrozenSplit, Subject, draw, whole_groups
from harness.splits.lock import Policy


@dataclass(frozen=True)
class Leak:
    """How many hidden cases have their patient, or a twin, in another part."""

    policy: Policy
    hidden: int
    leaking: int
    is_own: bool  # whether it is the frozen split's, or a draw that was made for comparison

    @property
    def share(self) -> float:
        """Of the hidden cases."""
        return self.leaking / self.hidden


def leaks(split: FrozenSplit, report: AuditReport, subjects: Sequence[Subject]) -> tuple[Leak, ...]:
    """The leaks of both rules, by image first; the one alone that can be drawn of these cases.

    Args:
        report: the audit of the split.
        subjects: all cases of the split.
    """
    found = (_leak(policy, split, report, subjects=subjects) for policy in get_args(Policy)[::-1])
    return tuple(leak for leak in found if leak is not None)


def _leak(
    policy: Policy, split: FrozenSplit, report: AuditReport, *, subjects: Sequence[Subject]
) -> Leak | None:
    lock = split.lock
    if policy == lock.policy:
        return Leak(policy, len(split.hidden()), lock.audit.leaking, is_own=True)
    try:
        places = draw(
            subjects,
            whole_groups((subject.case_id for subject in subjects), report.groups),
            policy=policy,
            test_fraction=lock.test_fraction,
            final_fraction=lock.final_fraction,
            folds=lock.folds,
            seed=lock.seed,
        )
    except BusbenchError as error:
        if error.code != Code.SPLIT_IMPOSSIBLE:
            raise
        return None
    part_of = {case_id: str(place.part) for case_id, place in places.items()}
    parts = sorted({*part_of.values()} - {"train"})
    verdicts = [judge(report, part_of, part) for part in parts]
    hidden, leaking = (sum(getattr(one, name) for one in verdicts) for name in ("test", "leaking"))
    return Leak(policy, hidden, leaking, is_own=False)
