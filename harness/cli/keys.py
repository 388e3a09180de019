"""`busbench keys`: the organiser's key folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluator.errors import BusbenchError, Code
from harness.cli.app import app, out
from harness.cli.options import KeysOption
from harness.ledger import rotate as rotate_ledger
from harness.sealing.keys import PUBLICS, SECRETS, Keys

keys = typer.Typer(help="The organiser's keys.", no_args_is_help=True)
app.add_typer(keys, name="keys")


@keys.command()
def new(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the keys shall lie.")],
) -> None:
    """Make the three key pairs of a challenge: images, labels, reports.

    Example: busbench keys new keys
    """
    made = Keys.new(folder)
    out.print(f"Secret, for the organiser alone: {', '.join(SECRETS)}", highlight=False)
    out.print(f"Public, for everyone: {', '.join(PUBLICS)}", highlight=False)
    out.print(f"Reports will be signed by {made.report.keyid}", highlight=False, soft_wrap=True)


@keys.command()
def rotate(
    ledger: Annotated[Path, typer.Argument(metavar="LEDGER", help="The ledger to hand over.")],
    keys: KeysOption,
    to: Annotated[Path, typer.Option("--out", help="The folder for the new keys.")],
) -> None:
    """Give a ledger a new signing key; what was sealed stays sealed to the same two keys.

    The old key signs the change and the new one countersigns it. Run again, it resumes. Keep the
    old folder until nobody has to verify reports that lie apart from the ledger.

    Example: busbench keys rotate ledger.jsonl --keys keys --out keys-2
    """
    old = Keys.open(keys)
    new = Keys.open(to) if to.exists() else old.renewed(to)
    if (new.images.recipient, new.labels.recipient) != (old.images.recipient, old.labels.recipient):
        remedy = "Name a new folder with --out, or the one that a stopped rotation began."
        raise BusbenchError(
            Code.OUTPUT_EXISTS, f"{to} holds the keys of another challenge.", remedy
        )
    appended = rotate_ledger(ledger, old, new)
    told = "Entry" if appended.new else "Already done: entry"
    out.print(f"{told} {appended.entry.number} hands {ledger} over", soft_wrap=True)
    out.print(f"Reports are now signed by {new.report.keyid}", highlight=False, soft_wrap=True)
    out.print(f"Publish {to / 'report.pub'}, and use --keys {to} from now on.", soft_wrap=True)
