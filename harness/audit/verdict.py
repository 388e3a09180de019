"""The verdict on a split: how many test cases have a twin, or their patient, in training."""

from __future__ import annotations

from collections.abc import Mapping

from evaluator.documents.base import Contract
from harness.audit.report import AuditReport, Kind, Pair

TEST = "test"
KINDS: tuple[Kind, ...] = ("same-patient", "identical", "near-duplicate")


class Verdict(Contract):
    """What an audit says about one split."""

    test: int  # cases held out
    leaking: int  # of those, how many are paired with a case that is not held out
    share: float  # leaking / test; 0 where nothing is held out
    by_kind: dict[Kind, int]  # leaking cases by why; one case may count under several
    groups: int  # groups that are on both sides
    pairs: tuple[Pair, ...]  # the pairs with one case on each side


def judge(report: AuditReport, part_of: Mapping[str, str]) -> Verdict:
    """Compare a split with an audit.

    Args:
        part_of: case id -> part. Part "test" is held out; every other part counts as training,
            since validation cases steer it too. Cases without a part are on neither side.
    """
    held_out = {case_id for case_id, part in part_of.items() if part == TEST}
    training = part_of.keys() - held_out
    crossing = tuple(
        pair
        for pair in report.pairs
        if (pair.first in held_out and pair.second in training)
        or (pair.first in training and pair.second in held_out)
    )
    by_kind = {
        kind: len(_ends([pair for pair in crossing if pair.kind == kind]) & held_out)
        for kind in KINDS
    }
    leaking = len(_ends(crossing) & held_out)
    return Verdict(
        test=len(held_out),
        leaking=leaking,
        share=leaking / len(held_out) if held_out else 0.0,
        by_kind=by_kind,
        groups=sum(
            not held_out.isdisjoint(group) and not training.isdisjoint(group)
            for group in report.groups
        ),
        pairs=crossing,
    )


def _ends(pairs: list[Pair] | tuple[Pair, ...]) -> set[str]:
    return {case_id for pair in pairs for case_id in (pair.first, pair.second)}
