"""Share of test cases whose patient, or a twin, is in training, by the rule of splitting.

    python -m benchmarks.leak_study --data ../shared/data

prepares and audits every release found there (a few minutes), draws a split by each rule, and
prints the tables of docs/leak-study.md in Markdown. Nothing is written but a temporary folder.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.timing import head, row
from harness.audit import AuditReport, Kind, Verdict, audit, connected_groups, judge
from harness.audit.parts import read_splits
from harness.cli.progress import bars
from harness.prepare import prepare
from harness.splits import draw, subjects_of
from harness.splits.lock import Policy
from harness.store import CaseStore

FOLDERS = {"busi": "Dataset_BUSI_with_GT", "busbra": "BUSBRA", "bus-uclm": "BUS-UCLM"}
OFFICIAL = {"busbra": ("5-fold-cv.csv", "10-fold-cv.csv")}
SAME: tuple[Kind, ...] = ("same-patient",)
# What a rule balances, and which kinds of pairs it knows of.
RULES: dict[str, tuple[Policy, tuple[Kind, ...]]] = {
    "by image (Awesome-BUS)": ("image", ()),
    "by stated patient": ("patient", SAME),
    "by audited group (ours)": ("patient", (*SAME, "identical", "near-duplicate")),
}


def verdict(store: CaseStore, report: AuditReport, rule: str, *, seed: int) -> Verdict:
    """The audit's verdict on the test part that a rule draws."""
    policy, kinds = RULES[rule]
    links = {(pair.first, pair.second) for pair in report.pairs if pair.kind in kinds}
    groups = connected_groups(links) if links else ()
    drawn = draw(subjects_of(store), groups, policy=policy, seed=seed)
    return judge(report, {case_id: row.part for case_id, row in drawn.items()})


def study(dataset: str, store: CaseStore, report: AuditReport, *, seeds: int) -> Iterator[str]:
    """The table's lines on one dataset: seed 42, then the mean and range over other seeds."""
    for rule in RULES:
        one = verdict(store, report, rule, seed=42)
        shares = [verdict(store, report, rule, seed=seed).share for seed in range(seeds)]
        spread = f"{sum(shares) / seeds:.1%} ({min(shares):.1%} to {max(shares):.1%})"
        leaking = f"{one.leaking} ({one.share:.1%})"
        yield row(dataset, rule, one.test, leaking, *one.by_kind.values(), spread)


def official(dataset: str, raw: Path, store: CaseStore, *, report: AuditReport) -> Iterator[str]:
    """The table's lines on fold files that came with the release, reduced to the cases here."""
    known = {case.case_id for case in store.cases}
    for name in OFFICIAL.get(dataset, ()):
        judged = {
            split: judge(report, {c: part for c, part in part_of.items() if c in known})
            for split, part_of in read_splits(raw / name).items()
        }
        for side in ("test", "validation"):
            found = [verdict for split, verdict in judged.items() if split.endswith(side)]
            held_out, leaking = (sum(getattr(v, key) for v in found) for key in ("test", "leaking"))
            yield row(name, side, len(found), held_out, f"{leaking} ({leaking / held_out:.1%})")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the raw releases")
    parser.add_argument("--seeds", type=int, default=20, help="other seeds to draw with")
    args = parser.parse_args()
    spread = f"mean over {args.seeds} seeds (range)"
    kinds = ("patient", "identical", "near-duplicate")
    lines = [head("dataset", "rule", "test cases", "leaking", *kinds, spread, text=8)]
    folds = [head("official file", "side", "splits", "held-out cases", "leaking", text=5)]
    with tempfile.TemporaryDirectory() as scratch, bars() as progress:
        for dataset, folder in FOLDERS.items():
            raw = args.data / folder
            if raw.is_dir():
                store = prepare(dataset, raw, Path(scratch) / dataset, progress=progress).store
                report = audit(store, progress=progress)
                lines += study(dataset, store, report, seeds=args.seeds)
                folds += official(dataset, raw, store, report=report)
    print("\n".join([*lines, "", *(folds if len(folds) > 1 else ())]))


if __name__ == "__main__":
    main()
