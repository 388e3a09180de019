"""`busbench audit`: what belongs together in a store or in several, and the splits that part it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evaluator.documents.base import read, write
from evaluator.errors import BusbenchError, Code
from evaluator.files import write_atomically
from harness.audit import AuditReport, audit
from harness.cli.app import app
from harness.cli.audit_view import show, show_across
from harness.cli.effects import Checked
from harness.cli.options import ExcludeOption, JsonOption, PairsOption
from harness.cli.progress import bars
from harness.cli.screen import print_json
from harness.folders import require_same
from harness.splits import draw, subjects_of
from harness.splits.lock import Policy
from harness.splits.stated import Stated, ends_of, read_stated, with_stated
from harness.store import CaseStore

if TYPE_CHECKING:
    from harness.audit.certificate import LeakCertificate
    from harness.audit.published import Published

REPORT, CERTIFICATE, ACROSS = "audit.json", "certificate.json", "cross-audit.json"
PAIRS, CERTIFICATE_PAGE, ACROSS_PAGE = "pairs.html", "certificate.html", "cross-pairs.html"
LEAKS = 21  # exit status, with --fail-on-leak; no error has it


@app.command("audit", cls=Checked)
def audit_verb(
    stores: Annotated[
        list[Path],
        typer.Argument(
            metavar="STORE", help="Case stores that prepare wrote.", exists=True, file_okay=False
        ),
    ],
    split: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="A split to judge: a table, nnU-Net's splits file, a datalist, a folder of name "
            "lists or of images by part; or once for each part, train=PATH and test=PATH.",
        ),
    ] = None,
    policy: Annotated[
        Policy | None, typer.Option(help="Judge the split that freeze would draw by this rule.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of that draw.", min=0)] = 42,
    to: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for report, pairs and certificate.", file_okay=False),
    ] = None,
    near: Annotated[bool, typer.Option(help="Look for near-duplicates too.")] = True,
    pairs: PairsOption = None,
    exclude: ExcludeOption = None,
    partial: Annotated[
        bool,
        typer.Option("--partial", help="Judge what split and store share, and report the rest."),
    ] = False,
    fail_on_leak: Annotated[
        bool,
        typer.Option("--fail-on-leak", help=f"Exit with status {LEAKS} where it leaks, for CI."),
    ] = False,
    json: JsonOption = False,
) -> None:
    """Find the cases that belong on one side of a split.

    Of several stores: the images that two datasets share.

    A table names a case by its id or by its file in the release, as CSV or Excel. Known pairs
    count as found; what is left out is on no side, and the report says why.

    Example: busbench audit stores/busbra --split BUSBRA/5-fold-cv.csv --out audits/busbra
    Example: busbench audit stores/busi --split train=train.txt --split test=test.txt --fail-on-leak
    Example: busbench audit stores/busbra --policy image
    Example: busbench audit stores/busi --pairs known.csv --exclude wrong.csv --policy patient
    Example: busbench audit stores/busi stores/bus-uc --out audits/both
    """
    if (policy and split) or (len(stores) > 1 and (policy or split or pairs or exclude)):
        message = "--split, --policy, --pairs and --exclude are for one store, and for one split."
        raise BusbenchError(Code.USAGE, message, "Judge one split of one store.")
    if len(stores) > 1:
        leaks = _across(stores, to, near=near, json=json)
    else:
        opened = CaseStore.open(stores[0])
        stated = read_stated(pairs, exclude, opened)
        published = _published(opened, split, partial, excluded=stated[1]) if split else None
        rule = (policy, seed) if policy else None
        leaks = _one(opened, published, rule, stated=stated, to=to, near=near, json=json)
    if leaks and fail_on_leak:
        raise typer.Exit(LEAKS)


def _published(
    store: CaseStore, split: list[str], partial: bool, *, excluded: Collection[str]
) -> Published:
    from harness.audit.published import read_published  # noqa: PLC0415  takes a second to import

    with bars() as progress:
        return read_published(split, store, partial=partial, excluded=excluded, progress=progress)


def _one(
    store: CaseStore,
    split: Published | None,
    rule: tuple[Policy, int] | None,
    *,
    stated: Stated,
    to: Path | None,
    near: bool,
    json: bool,
) -> bool:
    """Audit one store; whether the split that was asked about leaks."""
    if to:
        _require_same_audit(to, store, near, split=split, stated=stated)
    with bars() as progress:
        report = audit(store, near=near, progress=progress)
    store, report = with_stated(report, store, pairs=stated[0], excluded=stated[1])
    certificate = _certificate(store, report, split, rule=rule)
    if to:
        from harness.audit.sheet import sheet  # noqa: PLC0415  takes a second to import

        if certificate:
            from harness.audit.certificate import certificate_page  # noqa: PLC0415  as above

            write_atomically(to / CERTIFICATE_PAGE, certificate_page(store, certificate))
            write(certificate, to / CERTIFICATE)
        write_atomically(to / PAIRS, sheet(store, report))
        write(report, to / REPORT)  # last: where it is, the pages are
    if json:
        said = certificate.document() if certificate else {}
        verdicts = said.pop("verdicts", {})
        print_json({**report.document(), "verdicts": verdicts, "certificate": said or None})
    else:
        show(store, report, certificate)
    return certificate is not None and certificate.leaks


def _certificate(
    store: CaseStore,
    report: AuditReport,
    split: Published | None,
    *,
    rule: tuple[Policy, int] | None,
) -> LeakCertificate | None:
    if not split and not rule:
        return None
    from harness.audit.certificate import certify  # noqa: PLC0415  takes a second to import
    from harness.audit.published import drawn  # noqa: PLC0415  as above

    if split:
        return certify(report, split)
    assert rule
    policy, seed = rule
    places = draw(subjects_of(store), report.groups, policy=policy, seed=seed)
    name = f"policy {policy}, seed {seed}"
    certificate = certify(report, drawn(name, {case: at.part for case, at in places.items()}))
    return certificate.model_copy(update={"verdicts": {name: certificate.verdicts["test"]}})


def _require_same_audit(
    folder: Path, store: CaseStore, near: bool, *, split: Published | None, stated: Stated
) -> None:
    remedy = "Name another folder with --out."
    if (folder / REPORT).is_file():
        before = read(AuditReport, folder / REPORT, Code.OUTPUT_EXISTS, remedy=remedy)
        require_same(
            folder,
            {
                "store": before.store_digest != store.info.digest,
                "--near": before.near != near,
                "--pairs": (before.stated_pairs or ()) != ends_of(stated[0]),
                "--exclude": (before.excluded or {}) != stated[1],
            },
        )
    if (folder / CERTIFICATE).is_file():
        from harness.audit.certificate import LeakCertificate  # noqa: PLC0415  as below

        certified = read(LeakCertificate, folder / CERTIFICATE, Code.OUTPUT_EXISTS, remedy=remedy)
        other_split = split is None or certified.split_digest != split.digest
        require_same(folder, {"--split": other_split})


def _across(stores: list[Path], to: Path | None, *, near: bool, json: bool) -> bool:
    """Audit several stores together; whether two of them share an image."""
    from harness.audit.across import (  # noqa: PLC0415  takes a second to import
        CrossAudit,
        JoinedStores,
        audit_across,
    )

    joined = JoinedStores([CaseStore.open(store) for store in stores])
    if to and (to / ACROSS).is_file():
        remedy = "Name another folder with --out."
        before = read(CrossAudit, to / ACROSS, Code.OUTPUT_EXISTS, remedy=remedy)
        digests = [dataset.store_digest for dataset in before.datasets]
        others = digests != [store.info.digest for store in joined.stores]
        require_same(to, {"store": others, "--near": before.near != near})
    with bars() as progress:
        report, pairs = audit_across(joined, near=near, progress=progress)
    if to:
        from harness.audit.sheet import pairs_page  # noqa: PLC0415  takes a second to import

        what = " and ".join(joined.names)
        digests = [dataset.store_digest for dataset in report.datasets]
        sheet = pairs_page(joined, pairs, what, digests=", ".join(digests), name=joined.shown)
        write_atomically(to / ACROSS_PAGE, sheet)
        write(report, to / ACROSS)  # last: where it is, the page is
    if json:
        print_json(report.document())
    else:
        show_across(report, pairs, joined.named)
    return bool(pairs)
