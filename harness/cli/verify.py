"""`busbench verify`: checks of a ledger or a report, its splits, labels and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from evaluator.documents.base import read
from evaluator.errors import BusbenchError, Code
from evaluator.harmless import harmless
from harness.cli.app import app, out
from harness.cli.effects import Checked
from harness.cli.options import (
    ChallengeOption,
    FinalKeysOption,
    JsonOption,
    OptionalKeys,
    PublicKeyOption,
    RunnerName,
    RunnerOption,
    make_runner,
    read_challenge,
)
from harness.cli.progress import bars
from harness.cli.screen import print_json
from harness.evaluation.review import Evidence, Reports, count_opened, rescore, review_splits
from harness.ledger import (
    LedgerVerdict,
    NamedReports,
    Witnessed,
    find_checkpoints,
    is_ahead,
    is_report,
    read_note,
    require_witnessed,
    utc_now,
    verify_ledger,
    verify_report,
)
from harness.ledger.report import Report
from harness.sandbox.cached import Context
from harness.sealing.bundle import open_each
from harness.sealing.keys import read_public_key
from harness.splits import Reveal
from harness.store import CaseStore

Paths = list[Path] | None


@app.command(cls=Checked)
def verify(
    path: Annotated[
        Path,
        typer.Argument(
            metavar="LEDGER|REPORT", help="What to verify.", exists=True, dir_okay=False
        ),
    ],
    key: PublicKeyOption = None,
    holds: Annotated[
        str | None, typer.Option(help="Digest of an entry that must be there, from earlier.")
    ] = None,
    witness: Annotated[
        Paths,
        typer.Option(
            help="A checkpoint, or a folder of them, whose entries must all be there; repeatable.",
            exists=True,
        ),
    ] = None,
    splits: Annotated[
        Path | None,
        typer.Option(
            help="Frozen splits that the reports must be scored on.", exists=True, file_okay=False
        ),
    ] = None,
    store: Annotated[
        Paths,
        typer.Option(
            help="Case store to open the splits' commitments with, and --secret.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    secret: Annotated[
        Path | None,
        typer.Option(
            help="The organiser's secret; default: beside each split.", exists=True, dir_okay=False
        ),
    ] = None,
    reveal: Annotated[
        Paths,
        typer.Option(
            help="Reveal document that opens commitments instead.", exists=True, dir_okay=False
        ),
    ] = None,
    rescore_runs: Annotated[
        Path | None,
        typer.Option(
            "--rescore",
            metavar="RUNS",
            help="Score kept predictions again.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    bundle: Annotated[
        Paths, typer.Option(help="Sealed bundles for --rescore.", exists=True, file_okay=False)
    ] = None,
    keys: OptionalKeys = None,
    final_keys: FinalKeysOption = None,
    runner: RunnerOption = RunnerName.DOCKER,
    challenge: ChallengeOption = None,
    json: JsonOption = False,
) -> None:
    """Check every byte, digest and signature of a ledger or of one signed report.

    With --splits, also that its reports were scored on frozen splits; with --store or --reveal,
    that the test labels are those that were committed to; with --rescore, that the kept
    predictions give the same numbers again; with --witness, that no entry is gone which a
    checkpoint has seen. Exit status 20 where something differs. --rescore alone takes the sealed
    labels as they are: what they were at the freeze, --splits with --store or --reveal knows.

    Example: busbench verify demo/ledger.jsonl --key demo/keys/report.pub --splits splits
    """
    reports: Reports
    differences, opened = list[str](), 0
    if is_report(path):
        facts, reports = _report(path, key)
    else:
        public = None if key is None else read_public_key(key)
        verdict = verify_ledger(path, public, holds, anew=True)
        facts, reports = _ledger(verdict), NamedReports(verdict)
        differences += _times_to_come(facts) + _unwitnessed(verdict, witness or (), facts)
    if splits is not None:
        evidence = Evidence(
            [CaseStore.open(each) for each in store or ()],
            secret,
            [
                read(Reveal, each, Code.SPLIT_INVALID, remedy="Fetch it again.")
                for each in reveal or ()
            ],
        )
        with bars() as progress:
            differences += review_splits(reports, splits, evidence, progress=progress)
        facts["splits"] = str(splits)
        opened = count_opened(reports, splits, evidence)
    if splits is not None or rescore_runs is not None:
        facts["labels"] = _labels(opened, len(reports), splits)
    if rescore_runs is not None:
        if keys is None or not bundle:
            message = "--rescore opens the sealed labels again."
            raise BusbenchError(Code.USAGE, message, "Name --bundle and --keys, too.")
        settings = read_challenge(challenge)
        bundles = open_each(bundle, keys, final_keys)
        with bars() as progress:
            context = Context(make_runner(runner, settings, progress), settings, progress)
            differences += rescore(reports, rescore_runs, bundles, context=context)
        facts["rescored"] = len(reports)
    _tell(facts, differences, json)


def _tell(facts: dict[str, Any], differences: list[str], as_json: bool) -> None:
    if differences:
        facts["verdict"] = "something differs"
    if as_json:
        print_json({**facts, "differences": differences})
    else:
        for name, value in facts.items():
            out.print(harmless(f"{name:<12}{value}"))
        for line in differences:
            out.print(harmless(f"differs     {line}"))
    if differences:
        raise typer.Exit(20)


def _labels(opened: int, reports: int, splits: Path | None) -> str:
    """Of how many reports the labels were compared with those that were committed to."""
    if opened and opened == reports:
        return "opened"
    missing = "--store or --reveal" if splits else "--splits, and --store or --reveal"
    some = f"opened for {opened} of {reports} reports" if opened else "not opened"
    return f"{some}: name {missing}, or others than those committed to pass unseen"


def _ledger(verdict: LedgerVerdict) -> dict[str, Any]:
    pending = verdict.count("pending")
    origin = "as you named it" if verdict.pinned else "as the ledger says: compare it, or use --key"
    return {
        "verdict": "the ledger holds",
        "reports": verdict.count("reports"),
        "retractions": verdict.count("retractions"),
        "rescorings": verdict.count("rescorings"),
        **({"pending": pending} if pending else {}),
        "rotations": len(verdict.keys) - 1,
        "head": verdict.head,
        "recorded": verdict.time,
        "key": verdict.key,
        "pinned": verdict.pinned,
        "trust": f"key {origin}",
    }


def _times_to_come(facts: dict[str, Any]) -> list[str]:
    now = utc_now()
    if not is_ahead(facts["recorded"], now):
        return []
    return [f"the last entry is of {facts['recorded']}, and by this machine's clock it is {now}"]


def _unwitnessed(
    verdict: LedgerVerdict, witnesses: Sequence[Path], facts: dict[str, Any]
) -> list[str]:
    """What checkpoints have seen that the ledger does not say; what they have is a fact."""
    if not witnesses:
        return []
    seen, differences = list[Witnessed](), list[str]()
    for file in (file for each in witnesses for file in find_checkpoints(each)):
        try:
            seen.append(require_witnessed(verdict, read_note(file), str(file)))
        except BusbenchError as error:
            differences.append(error.message)
    last = max(seen, key=lambda one: one.entries, default=None)
    longest = "" if last is None else f", the longest of {last.entries} entries, {last.time}"
    facts["witnessed"] = f"{len(seen)} checkpoints{longest}"
    return differences


def _report(path: Path, key: Path | None) -> tuple[dict[str, Any], dict[str, Report]]:
    if key is None:
        message = f"{path} is a lone report, and a report does not say whose key to believe."
        raise BusbenchError(Code.USAGE, message, "Name the organiser's key: --key report.pub.")
    public = read_public_key(key)
    report = verify_report(path, public)
    facts = {
        "verdict": "the report holds",
        "method": report.method,
        "team": report.team,
        "track": report.track,
        "status": report.status,
        "key": public.keyid,
    }
    return facts, {str(path): report}
