"""`busbench open`: a published site in the browser."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from evaluator.errors import BusbenchError, Code
from evaluator.harmless import harmless
from harness.cli.app import app, out

START = "index.html"


@app.command(name="open")
def open_site(
    site: Annotated[
        Path,
        typer.Argument(
            help="The folder that `busbench publish` wrote.", exists=True, file_okay=False
        ),
    ],
) -> None:
    """Open a published site in the browser.

    It is read from its files; no server is needed.

    Example: busbench open demo/site
    """
    page = site / START
    if not page.is_file():
        message = f"{site} is no published site: it has no {START}."
        raise BusbenchError(Code.USAGE, message, "Name the folder of `busbench publish --out`.")
    address = page.resolve().as_uri()
    if not webbrowser.open(address):
        message = f"No browser could be started to show {address}."
        remedy = "Open that address in a browser, or copy the folder to a machine that has one."
        raise BusbenchError(Code.USAGE, message, remedy)
    out.print(harmless(address))
