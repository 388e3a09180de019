"""From the ledger to its readers: `verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from evaluator.errors import BusbenchError
from harness.cli.app import app, out, print_json
from harness.ledger import is_report, verify_ledger, verify_report
from harness.sealing.keys import read_public_key

LedgerPath = Annotated[Path, typer.Argument(metavar="LEDGER", help="A ledger, ledger.jsonl.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@app.command()
def verify(
    path: Annotated[Path, typer.Argument(metavar="LEDGER|REPORT", help="What to verify.")],
    key: Annotated[
        Path | None, typer.Option(help="The public key that must have signed it, report.pub.")
    ] = None,
    holds: Annotated[
        str | None, typer.Option(help="Digest of an entry that must be there, from earlier.")
    ] = None,
    json: Json = False,
) -> None:
    """Check every byte, digest and signature of a ledger or of one signed report.

    Example: busbench verify demo/ledger.jsonl --key demo/keys/report.pub
    """
    found = _report_facts(path, key) if is_report(path) else _ledger_facts(path, key, holds)
    if json:
        print_json(found)
        return
    for name, value in found.items():
        out.print(f"{name:<9}{value}", markup=False, highlight=False, soft_wrap=True)


def _ledger_facts(path: Path, key: Path | None, holds: str | None) -> dict[str, Any]:
    verdict = verify_ledger(path, None if key is None else read_public_key(key), holds)
    origin = "as you named it" if verdict.pinned else "as the ledger says: compare it, or use --key"
    return {
        "verdict": "the ledger holds",
        "reports": len(verdict.reports),
        "head": verdict.head,
        "key": verdict.key,
        "trust": f"key {origin}",
    }


def _report_facts(path: Path, key: Path | None) -> dict[str, Any]:
    if key is None:
        message = f"{path} is a lone report, and a report does not say whose key to believe."
        raise BusbenchError("usage", message, "Name the organiser's key: --key report.pub.")
    public = read_public_key(key)
    report = verify_report(path, public)
    return {
        "verdict": "the report holds",
        "method": report.method,
        "team": report.team,
        "track": report.track,
        "status": report.status,
        "key": public.keyid,
    }
