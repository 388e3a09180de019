"""The verdict on a split: how many held-out cases have a twin, or their patient, in training."""

from __future__ import annotations

from collections.abc import Mapping, Set

from evaluator.documents.base import CaseId, Contract
from harness.audit.report import AuditReport, Kind, Pair

TEST = "test"
KINDS: tuple[Kind, ...] = ("same-patient", "identical", "near-duplicate")


class Verdict(Contract):
    """What an audit says about one split."""

    test: int  # cases held out
    leaking: int  # of those, how many are in training too, or paired with a case that is
    share: float  # leaking / test; 0 where nothing is held out
    by_kind: dict[Kind, int]  # leaking cases by why; one case may count under several
    groups: int  # groups that are on both sides
    both: tuple[CaseId, ...]  # cases that are on both sides themselves; sorted
    cases: tuple[CaseId, ...]  # the leaking cases; sorted
    pairs: tuple[Pair, ...]  # the pairs with one case on each side


def judge(report: AuditReport, part_of: Mapping[str, str], part: str = TEST) -> Verdict:
    """Compare a split with an audit.

    Args:
        part_of: case id -> part. Cases without a part are on neither side.
        part: the one that is held out; every other part counts as training, since validation cases
            steer it too.
    """
    held_out = {case_id for case_id, its in part_of.items() if its == part}
    return compare(report, held_out, part_of.keys() - held_out)


def compare(report: AuditReport, held_out: Set[str], training: Set[str]) -> Verdict:
    """Compare two sides, given as case ids, with an audit; a case may be on both."""
    crossing = {
        pair: ends for pair in report.pairs if (ends := _held_out_ends(pair, held_out, training))
    }
    both = held_out & training
    leaking = set(both).union(*crossing.values())
    return Verdict(
        test=len(held_out),
        leaking=len(leaking),
        share=len(leaking) / len(held_out) if held_out else 0.0,
        by_kind={
            kind: len(set[str]().union(*(e for p, e in crossing.items() if p.kind == kind)))
            for kind in KINDS
        },
        groups=sum(
            not held_out.isdisjoint(group) and not training.isdisjoint(group)
            for group in report.groups
        ),
        both=tuple(sorted(both)),
        cases=tuple(sorted(leaking)),
        pairs=tuple(crossing),
    )


def _held_out_ends(pair: Pair, held_out: Set[str], training: Set[str]) -> set[str]:
    """Which of a pair are held out while the other is in training."""
    both_ways = ((pair.first, pair.second), (pair.second, pair.first))
    return {one for one, other in both_ways if one in held_out and other in training}
