"""`busbench ledger`: look through a ledger, and retract a result in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from evaluator.errors import BusbenchError, Code
from evaluator.harmless import harmless
from harness.cli.app import app, out
from harness.cli.options import JsonOption, KeysOption, LedgerArgument
from harness.cli.screen import print_json
from harness.ledger import (
    LedgerVerdict,
    Recorded,
    RecordedRanking,
    RecordedReport,
    RecordedRescoring,
    RecordedRetraction,
    RecordedRotation,
    Retraction,
    append,
    verify_ledger,
    write_checkpoint,
)
from harness.sealing.keys import Keys

verbs = typer.Typer(help="Look through a ledger, and retract results.", no_args_is_help=True)
app.add_typer(verbs, name="ledger")
MIN_DIGITS = 8  # of a digest that is given short


@verbs.command()
def entries(ledger: LedgerArgument, as_json: JsonOption = False) -> None:
    """List the entries of a ledger: when each was recorded, and its digest for `ledger retract`.

    Example: busbench ledger entries demo/ledger.jsonl
    """
    verdict = verify_ledger(ledger)
    pending = verdict.pending
    rows = (_row(entry, is_pending=entry.number in pending) for entry in verdict.walk())
    if as_json:
        return print_json([*rows])
    for row in rows:
        place = f"{row['number']:>4}  {row['recorded']}  {row['digest'][:16]}"
        line = f"{place}  {row['kind']:<10}  {row['about']}"
        out.print(harmless(line))
    return None


@verbs.command()
def retract(
    ledger: LedgerArgument,
    entry: Annotated[
        str, typer.Argument(help="The report's number, or its digest's first digits.")
    ],
    reason: Annotated[str, typer.Option(help="Why, in one line that everybody may read.")],
    keys: KeysOption,
) -> None:
    """Take a report off the board by a new entry that says why; the old one stays to be seen.

    Example: busbench ledger retract l.jsonl 3 --reason "Trained on test images." --keys keys
    """
    verdict = verify_ledger(ledger)
    found = find_report(verdict, entry, ledger)
    if (now := verdict.successors.get(found.number)) is not None:
        message = f"Entry {found.number} was scored anew, and entry {now} counts in its place."
        raise BusbenchError(Code.USAGE, message, f"Retract entry {now}.")
    try:
        retraction = Retraction(entry=found.digest, reason=reason)
    except ValidationError as error:
        remedy = "Give one line of 1 to 500 characters."
        raise BusbenchError(Code.USAGE, "--reason is no line of plain text.", remedy) from error
    appended = append(ledger, retraction, Keys.open(keys))
    entry = "Entry" if appended.new else "Already done: entry"
    what = f"{found.report.method} by {found.report.team}, entry {found.number}"
    line = f"{entry} {appended.entry.number} retracts {what}. Publish the site again."
    out.print(harmless(line))


@verbs.command()
def checkpoint(
    ledger: LedgerArgument,
    keys: KeysOption,
    folder: Annotated[
        Path,
        typer.Option(
            "--out", help="A folder of checkpoints, in a repository of others.", file_okay=False
        ),
    ],
) -> None:
    """Sign how long the ledger is and what it says, as a small file for others to keep.

    Commit it to a public repository: `busbench verify --witness` then finds what was dropped or
    exchanged since. Refused where an earlier checkpoint of the folder has seen another ledger.

    Example: busbench ledger checkpoint ledger.jsonl --keys keys --out witness
    """
    path = write_checkpoint(ledger, Keys.open(keys), folder)
    out.print(harmless(f"The checkpoint is {path}"))


def find_report(verdict: LedgerVerdict, name: str, ledger: Path) -> RecordedReport:
    """The report whose entry has the number, or the digest beginning with, `name`.

    Raises:
        BusbenchError: `usage` where no report, or more than one, is called so.
    """
    found = [
        entry
        for entry in verdict.each("all_reports")
        if name == str(entry.number) or (len(name) >= MIN_DIGITS and entry.digest.startswith(name))
    ]
    if len(found) != 1:
        remedy = f"`busbench ledger entries {ledger}` lists them."
        raise BusbenchError(Code.USAGE, f"{ledger} has no single report called {name}.", remedy)
    return found[0]


def _row(entry: Recorded, *, is_pending: bool) -> dict[str, Any]:
    match entry:
        case RecordedReport(report=report, replaces=replaces):
            kind, about = "report", f"{report.method} by {report.team} on {report.track}"
            about += ", final part" if report.part == "final" else ""
            if replaces is not None:
                kind, about = "rescored", f"{about}, scored anew after entry {replaces}"
                about += ", not counted: run `busbench rescore` again" if is_pending else ""
        case RecordedRescoring(pairs=pairs, body=body):
            kind = "rescoring"
            about = f"{len(pairs)} in the place of earlier ones: {body.reason}"
        case RecordedRetraction(retracted=retracted, reason=reason):
            kind, about = "retraction", f"of entry {retracted.number}: {reason}"
        case RecordedRotation(key=key):
            kind, about = "rotation", f"to {key}"
        case RecordedRanking():
            kind, about = "ranking", ""
        case _:
            raise AssertionError(entry)
    place = {"number": entry.number, "recorded": entry.time, "digest": entry.digest}
    return {**place, "kind": kind, "about": about}
