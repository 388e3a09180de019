"""Leak certificates of the splits that can be had, and the share of leaking cases by rule.

    python -m benchmarks.leak_study --data ../shared/data --out build/certificates

prepares and audits every release found there (a few minutes), draws a split by each rule, writes
the usual splits in the forms in which they are published, certifies each, and prints the tables of
docs/leak-study.md in Markdown. The certificates' pages are written where `--out` says.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sklearn.model_selection import KFold, StratifiedKFold

from benchmarks.timing import head, row
from evaluator.documents.base import write
from evaluator.files import write_atomically
from harness.audit import AuditReport, Kind, Verdict, audit, connected_groups, judge
from harness.audit.across import JoinedStores, audit_across
from harness.audit.certificate import LeakCertificate, certificate_page, certify
from harness.audit.published import read_published
from harness.cli.progress import bars
from harness.prepare import prepare
from harness.splits import draw, subjects_of
from harness.splits.lock import Policy
from harness.store import CaseStore

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"busi": "Dataset_BUSI_with_GT", "busbra": "BUSBRA", "bus-uclm": "BUS-UCLM"}
OFFICIAL = {"busbra": ("5-fold-cv.csv", "10-fold-cv.csv")}
FOLDS, SEED = 5, 42
SAME: tuple[Kind, ...] = ("same-patient",)
KINDS: tuple[Kind, ...] = (*SAME, "identical", "near-duplicate")
# What a rule balances, and which kinds of pairs it knows of.
RULES: dict[str, tuple[Policy, tuple[Kind, ...]]] = {
    "by image (Awesome-BUS)": ("image", ()),
    "by stated patient": ("patient", SAME),
    "by audited group (ours)": ("patient", KINDS),
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
        one = verdict(store, report, rule, seed=SEED)
        shares = [verdict(store, report, rule, seed=seed).share for seed in range(seeds)]
        spread = f"{sum(shares) / seeds:.1%} ({min(shares):.1%} to {max(shares):.1%})"
        leaking = f"{one.leaking} ({one.share:.1%})"
        yield row(dataset, rule, one.test, leaking, *(one.by_kind[kind] for kind in KINDS), spread)


def published(
    dataset: str, raw: Path, store: CaseStore, *, folder: Path
) -> Iterator[tuple[str, Path]]:
    """The usual splits of a release, and those that came with it, by name."""
    cases = sorted(store.cases, key=lambda case: case.source_image)
    names = [Path(case.source_image).stem for case in cases]
    parts = draw(subjects_of(store), (), policy="image", seed=SEED)
    lists = folder / "lists"
    lists.mkdir(parents=True)
    for part in ("train", "test"):
        named = [n for n, c in zip(names, cases, strict=True) if parts[c.case_id].part == part]
        (lists / f"{part}.txt").write_text("\n".join(named) + "\n")
    yield f"20 % by image, seed {SEED} (Awesome-BUS)", lists
    for rule, folds in {
        "KFold": KFold(FOLDS, shuffle=True, random_state=SEED),
        "StratifiedKFold": StratifiedKFold(FOLDS, shuffle=True, random_state=SEED),
    }.items():
        drawn = folds.split(names, [case.label for case in cases])
        path = folder / f"{rule}.json"
        path.write_text(
            json.dumps(
                [{"train": [names[n] for n in t], "val": [names[n] for n in v]} for t, v in drawn]
            )
        )
        yield f"{rule} by image, seed {SEED} (scikit-learn)", path
    yield from ((f"{name} of the release", raw / name) for name in OFFICIAL.get(dataset, ()))
    for frozen in sorted((ROOT / "splits" / dataset).glob("*/")):
        yield f"{frozen.name}, by audited group (ours)", frozen


def certificate_rows(name: str, certificate: LeakCertificate) -> Iterator[tuple[object, ...]]:
    """A certificate in rows of the table: its test parts and its validation parts, each summed."""
    for side in ("test", "validation"):
        found = [v for at, v in certificate.verdicts.items() if at.endswith(side)]
        if not found:
            continue
        held_out, leaking = (sum(getattr(v, key) for v in found) for key in ("test", "leaking"))
        kinds = [sum(v.by_kind[kind] for v in found) for kind in KINDS]
        folds = f"{side}, {len(found)} folds" if len(found) > 1 else side
        share = f"{leaking} ({leaking / held_out:.1%})"
        unseen = certificate.without_patient
        yield certificate.dataset, name, folds, held_out, share, *kinds, unseen


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with the raw releases")
    parser.add_argument("--seeds", type=int, default=20, help="other seeds to draw with")
    parser.add_argument("--out", type=Path, help="folder for the certificates; they show images")
    args = parser.parse_args()
    spread = f"mean over {args.seeds} seeds (range)"
    kinds = ("patient", "identical", "near-duplicate")
    rules = [head("dataset", "rule", "test cases", "leaking", *kinds, spread, text=8)]
    unseen = "cases without a known patient"
    wall = [head("dataset", "split", "held out", "cases", "leaking", *kinds, unseen, text=9)]
    stores: list[CaseStore] = []
    with tempfile.TemporaryDirectory() as scratch, bars() as progress:
        for dataset, folder in FOLDERS.items():
            raw = args.data / folder
            if not raw.is_dir():
                continue
            store = prepare(dataset, raw, Path(scratch) / dataset, progress=progress).store
            stores.append(store)
            report = audit(store, progress=progress)
            rules += study(dataset, store, report, seeds=args.seeds)
            written = Path(scratch) / "splits" / dataset
            for name, split in published(dataset, raw, store, folder=written):
                certificate = certify(report, read_published([str(split)], store))
                wall += (row(*cells) for cells in certificate_rows(name, certificate))
                if args.out:
                    place = args.out / dataset / name
                    write(certificate, place / "certificate.json")
                    page = certificate_page(store, certificate)
                    write_atomically(place / "certificate.html", page)
        across, _ = audit_across(JoinedStores(stores), progress=progress)
    shared = [head("trained on", "tested on", "cases", "with a twin in training", text=3)]
    shared += [row(one.trained_on, one.tested_on, one.cases, one.twins) for one in across.shared]
    print("\n".join([*wall, "", *rules, "", *shared]))


if __name__ == "__main__":
    main()
