"""`busbench audit`: the cases of a store that belong together, and the splits that part them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluator.documents.base import read, write
from evaluator.errors import BusbenchError, Code
from evaluator.files import write_atomically
from evaluator.harmless import harmless
from harness.audit import AuditReport, Pair, Verdict, audit, judge
from harness.cli.app import app, out
from harness.cli.effects import Checked
from harness.cli.options import StoreArgument
from harness.cli.progress import bars
from harness.cli.screen import Grid, print_json
from harness.folders import require_same
from harness.splits import draw, subjects_of
from harness.splits.lock import Policy
from harness.store import CaseStore

REPORT = "audit.json"


@app.command("audit", cls=Checked)
def audit_verb(
    store: StoreArgument,
    split: Annotated[
        Path | None, typer.Option(help="A split to judge, as CSV.", exists=True, dir_okay=False)
    ] = None,
    policy: Annotated[
        Policy | None, typer.Option(help="Judge the split that freeze would draw by this rule.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of that draw.", min=0)] = 42,
    to: Annotated[
        Path | None, typer.Option("--out", help="Folder for the report.", file_okay=False)
    ] = None,
    near: Annotated[bool, typer.Option(help="Look for near-duplicates too.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Find the cases that belong on one side of a split.

    Example: busbench audit stores/busbra --split BUSBRA/5-fold-cv.csv --out audits/busbra
    Example: busbench audit stores/busbra --policy image
    """
    opened = CaseStore.open(store)
    if to:
        _require_same_audit(to, opened, near)
    splits = known_splits(split, opened) if split else {}
    with bars() as progress:
        report = audit(opened, near=near, progress=progress)
    if policy:
        places = draw(subjects_of(opened), report.groups, policy=policy, seed=seed)
        splits[f"policy {policy}, seed {seed}"] = {name: at.part for name, at in places.items()}
    verdicts = {name: judge(report, part_of) for name, part_of in splits.items()}
    if to:
        from harness.audit.sheet import sheet  # noqa: PLC0415  takes a second to import

        write_atomically(to / "pairs.html", sheet(opened, report))
        write(report, to / REPORT)  # last: where it is, the page is
    if json:
        judged = {name: verdict.document() for name, verdict in verdicts.items()}
        print_json({**report.document(), "verdicts": judged})
    else:
        show(report, verdicts)


def _require_same_audit(folder: Path, store: CaseStore, near: bool) -> None:
    if (folder / REPORT).is_file():
        remedy = "Name another folder with --out."
        before = read(AuditReport, folder / REPORT, Code.OUTPUT_EXISTS, remedy=remedy)
        other_store = before.store_digest != store.info.digest
        require_same(folder, {"store": other_store, "--near": before.near != near})


def known_splits(path: Path, store: CaseStore) -> dict[str, dict[str, str]]:
    """The splits in a file, once it is sure that they are of this store."""
    from harness.audit.parts import read_splits  # noqa: PLC0415  takes a second to import

    splits = read_splits(path)
    known = {case.case_id for case in store.cases}
    named = {case_id for part_of in splits.values() for case_id in part_of}
    checks = (
        (sorted(named - known), f"{path} names {{}}, which is not in {store.path}"),
        (sorted(known - named), f"{path} lacks {{}}, which is in {store.path}"),
    )
    for cases, message in checks:
        if cases:
            more = f", and {len(cases) - 1} more." if cases[1:] else "."
            remedy = "Name the split of this very store."
            raise BusbenchError(Code.SPLIT_INVALID, message.format(cases[0]) + more, remedy)
    return splits


SHOWN = 10  # lines of each sort; the report written to --out has them all


def show(report: AuditReport, verdicts: dict[str, Verdict]) -> None:
    """Print a report for people: the first pairs and groups, counts, the verdicts on splits."""
    # pairs of a patient are many, and the groups show them
    lines([f"pair: {described(pair)}" for pair in report.pairs if pair.kind != "same-patient"])
    lines([f"group: {' '.join(group)}" for group in report.groups])
    grouped = sum(map(len, report.groups))
    counted = (
        f"{report.cases} cases, {len(report.pairs)} pairs, "
        f"{len(report.groups)} groups of {grouped} cases, {len(report.conflicts)} conflicts"
    )
    out.print(harmless(counted))
    if report.without_patient:
        unknown = (
            f"Of {report.without_patient} of {report.cases} cases no patient is known: "
            "leaks by patient cannot be seen there."
        )
        out.print(harmless(unknown))
    heads = ("split", "test cases", "leaking", "share", "patient", "identical", "near")
    judged = Grid(harmless(""), *map(harmless, heads))
    for name, verdict in verdicts.items():
        cells = (name, verdict.test, verdict.leaking, f"{verdict.share:.1%}")
        judged.row(*map(harmless, (*cells, *verdict.by_kind.values())))
    if verdicts:
        out.draw(judged)


def described(pair: Pair) -> str:
    """A pair in one line: who, what kind, how similar, how transformed, what contradicts itself."""
    parts = (f"{pair.first} {pair.second} {pair.kind}", f"{pair.similarity:.3f}", pair.transform)
    conflict = f"; conflict: {pair.conflict}" if pair.conflict else ""
    return ", ".join(part for part in parts if part) + conflict


def lines(texts: list[str]) -> None:
    """Print the first of these as they are, however narrow the terminal: scripts look for them."""
    for text in texts[:SHOWN]:
        out.print(harmless(text))
    if texts[SHOWN:]:
        more = f"... and {len(texts) - SHOWN} more: the report has them all, see --out."
        out.print(harmless(more))
