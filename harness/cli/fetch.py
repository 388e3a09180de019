"""`busbench fetch`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from evaluator.errors import BusbenchError, Code
from evaluator.harmless import harmless
from harness.cli.app import app, err, out
from harness.cli.options import JsonOption
from harness.cli.progress import bars
from harness.cli.screen import print_json
from harness.datasets import ADAPTERS, Adapter
from harness.datasets.fetching import RELEASE
from harness.datasets.fetching import fetch as run
from harness.datasets.records import ON_REQUEST, SOURCES
from harness.spelling import did_you_mean

NAMES = ", ".join(sorted({*SOURCES, *ON_REQUEST}))
PACKED = (".rar", ".7z", ".tar", ".gz")  # archives that are left as they are


@app.command()
def fetch(
    *,
    dataset: Annotated[str, typer.Argument(help=f"One of {NAMES}.")],
    folder: Annotated[
        Path | None, typer.Option("--out", help="Where to put it: a new folder.", file_okay=False)
    ] = None,
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="Accept the release's terms without a question.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Download a dataset from where it is published, or say how to ask for it.

    The terms are shown first. A run that was stopped is continued by the same command.

    Example: busbench fetch busbra --out data/busbra
    """
    if dataset in ON_REQUEST:
        _say_how(dataset, as_json)
        return
    if dataset not in SOURCES:
        message = f"No dataset called {dataset!r} can be downloaded."
        raise BusbenchError(
            Code.USAGE, message, f"{did_you_mean(dataset, SOURCES)}Name one of {NAMES}."
        )
    if folder is None:
        raise BusbenchError(Code.USAGE, "Missing option '--out'.", "Name a new folder.")
    adapter = ADAPTERS[dataset]
    _require_accepted(adapter, accept_terms)
    with bars() as progress:
        fetched = run(adapter, folder, progress=progress)
    release = folder / RELEASE
    if as_json:
        print_json({"dataset": dataset, "release": str(release), "fetched": fetched.document()})
        return
    for file in fetched.files:
        stated = file.stated or "its publisher states no digest"
        out.print(harmless(f"{file.name}: sha256:{file.sha256}, {stated}"))
        if Path(file.name).suffix.lower() in PACKED:
            err.print(harmless(f"Unpack it by hand: {release / file.name}"))
    out.print(harmless(f"Next: busbench prepare {dataset} --raw {release} --out stores/{dataset}"))


def _say_how(dataset: str, as_json: bool) -> None:
    how = ON_REQUEST[dataset]
    if as_json:
        print_json({"dataset": dataset, "fetched": None, "how": how})
        return
    for line in how.splitlines():
        out.print(harmless(line))


def _require_accepted(adapter: Adapter, accepted: bool) -> None:
    """Show the terms; raise `usage` unless somebody accepts them."""
    release = adapter.release
    err.print(harmless(f"{adapter.title}: {release.download}"))
    err.print(harmless(f"Terms: {release.terms}. Paper: {release.paper}."))
    if not accepted and sys.stdin.isatty():
        err.print(harmless("Do you accept these terms? Type y or n."))
        accepted = sys.stdin.readline().strip().lower() in ("y", "yes")
    if not accepted:
        message = f"The terms of {adapter.title} were not accepted."
        raise BusbenchError(Code.USAGE, message, "Read them, then add --accept-terms.")
