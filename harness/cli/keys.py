"""`busbench keys`: the organiser's key folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.app import app, out
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
