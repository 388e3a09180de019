"""How many test cases have their patient, or a twin, in training: under which rule of splitting?

    python -m benchmarks.leak_study --data ../shared/data

prepares and audits every release found there (a few minutes), draws a split by each rule, and
prints the table of docs/leak-study.md in Markdown. Nothing is written but a temporary folder.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.audit import AuditReport, Kind, Verdict, audit, connected_groups, judge, read_splits
from harness.cli.progress import bars
from harness.prepare import prepare
from harness.splits import Subject, draw, subjects_of
from harness.splits.lock import Policy
from harness.store import CaseStore

FOLDERS = {"busi": "Dataset_BUSI_with_GT", "busbra": "BUSBRA", "bus-uclm": "BUS-UCLM"}
OFFICIAL = {"busbra": ("5-fold-cv.csv", "10-fold-cv.csv")}
SEEDS = 20


@dataclass(frozen=True)
class Rule:
    """A way of splitting: what it balances, and which kinds of pairs it knows of."""

    name: str
    policy: Policy
    kinds: tuple[Kind, ...]

    def groups(self, report: AuditReport) -> tuple[tuple[str, ...], ...]:
        """The groups that the pairs it knows of make."""
        links = {(pair.first, pair.second) for pair in report.pairs if pair.kind in self.kinds}
        return connected_groups(links) if links else ()


RULES = (
    Rule("by image (the seed's)", "image", ()),
    Rule("by stated patient", "patient", ("same-patient",)),
    Rule("by audited group (ours)", "patient", ("same-patient", "identical", "near-duplicate")),
)


def verdicts(
    subjects: list[Subject], report: AuditReport, rule: Rule, seeds: range
) -> Iterator[Verdict]:
    """The audit's verdict on the test part that a rule draws with each seed."""
    for seed in seeds:
        places = draw(subjects, rule.groups(report), policy=rule.policy, seed=seed)
        yield judge(report, {case_id: place.part for case_id, place in places.items()})


def row(*cells: object) -> str:
    """One line of a Markdown table."""
    return f"| {' | '.join(map(str, cells))} |"


def study(dataset: str, store: CaseStore, report: AuditReport, seeds: range) -> Iterator[str]:
    """The table's lines on one dataset: seed 42, then the mean and range over other seeds."""
    subjects = subjects_of(store)
    for rule in RULES:
        (one,) = verdicts(subjects, report, rule, range(42, 43))
        shares = [verdict.share for verdict in verdicts(subjects, report, rule, seeds)]
        spread = f"{sum(shares) / len(shares):.1%} ({min(shares):.1%} to {max(shares):.1%})"
        yield row(dataset, rule.name, *counts(one), spread)


def counts(verdict: Verdict) -> tuple[object, ...]:
    """A verdict in five cells: test cases, leaking, and those by patient, copy and near copy."""
    leaking = f"{verdict.leaking} ({verdict.share:.1%})"
    return (verdict.test, leaking, *verdict.by_kind.values())


def official(dataset: str, raw: Path, store: CaseStore, report: AuditReport) -> Iterator[str]:
    """The table's lines on fold files that came with the release, reduced to the cases here."""
    known = {case.case_id for case in store.cases}
    for name in OFFICIAL.get(dataset, ()):
        judged = {
            split: judge(report, {c: part for c, part in part_of.items() if c in known})
            for split, part_of in read_splits(raw / name).items()
        }
        for side in ("test", "validation"):
            found = [verdict for split, verdict in judged.items() if split.endswith(side)]
            held_out = sum(verdict.test for verdict in found)
            leaking = sum(verdict.leaking for verdict in found)
            yield row(name, side, len(found), held_out, f"{leaking} ({leaking / held_out:.1%})")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder with the raw releases")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="other seeds to draw with")
    asked = parser.parse_args()
    lines: list[str] = []
    folds: list[str] = []
    with tempfile.TemporaryDirectory() as scratch, bars() as progress:
        for dataset, folder in FOLDERS.items():
            raw = asked.data / folder
            if not raw.is_dir():
                continue
            store = prepare(dataset, raw, Path(scratch) / dataset, progress=progress).store
            report = audit(store, progress=progress)
            lines += study(dataset, store, report, range(asked.seeds))
            folds += official(dataset, raw, store, report)
    kinds = ("patient", "identical", "near-duplicate")
    spread = f"mean over {asked.seeds} seeds (range)"
    print(table(("dataset", "rule", "test cases", "leaking", *kinds, spread), lines))
    if folds:
        print()
        print(table(("official file", "side", "splits", "held-out cases", "leaking"), folds))


def table(head: tuple[str, ...], lines: list[str]) -> str:
    """A Markdown table."""
    return "\n".join([row(*head), row(*["---"] * len(head)), *lines])


if __name__ == "__main__":
    main()
