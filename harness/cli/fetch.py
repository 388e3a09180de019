"""`busbench fetch`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from evaluator.errors import BusbenchError, Code
from harness.cli.app import app, err, out, print_json
from harness.cli.options import JsonOption
from harness.cli.progress import bars
from harness.datasets import ADAPTERS, Adapter
from harness.datasets.fetching import RELEASE
from harness.datasets.fetching import fetch as run
from harness.datasets.records import ON_REQUEST, SOURCES

PACKED = (".rar", ".7z", ".tar", ".gz")  # archives that are left as they are
NAMES = ", ".join(sorted({*SOURCES, *ON_REQUEST}))


@app.command()
def fetch(
    *,
    dataset: Annotated[str, typer.Argument(help=f"One of {NAMES}.")],
    folder: Annotated[
        Path, typer.Option("--out", help="Where to put it: a new folder.", file_okay=False)
    ],
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="Accept the release's terms without a question.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Download a dataset from where it is published, or say how to ask for it.

    The terms are shown first. A run that was stopped is continued by the same command.

    Example: busbench fetch busbra --out data/busbra --accept-terms
    """
    if dataset in ON_REQUEST:
        if as_json:
            print_json({"dataset": dataset, "fetched": None, "how": ON_REQUEST[dataset]})
        else:
            out.print(ON_REQUEST[dataset], markup=False, highlight=False, soft_wrap=True)
        return
    if dataset not in SOURCES:
        raise BusbenchError(
            Code.USAGE, f"No dataset called {dataset!r} can be downloaded.", f"Name one of {NAMES}."
        )
    adapter = ADAPTERS[dataset]
    _require_accepted(adapter, accept_terms)
    with bars() as progress:
        fetched = run(adapter, folder, progress=progress)
    if as_json:
        print_json(
            {"dataset": dataset, "release": str(folder / RELEASE), "fetched": fetched.document()}
        )
        return
    for file in fetched.files:
        checked = file.stated or "its publisher states no digest"
        line = f"{file.name}: sha256:{file.sha256}, {checked}"
        out.print(line, markup=False, highlight=False, soft_wrap=True)
        if Path(file.name).suffix.lower() in PACKED:
            err.print(f"Unpack it by hand: {folder / RELEASE / file.name}", markup=False)
    line = f"Next: busbench prepare {dataset} --raw {folder / RELEASE} --out stores/{dataset}"
    out.print(line, markup=False, highlight=False, soft_wrap=True)


def _require_accepted(adapter: Adapter, accepted: bool) -> None:
    """Show the terms; raise `usage` unless somebody accepts them."""
    release = adapter.release
    for line in (
        f"{adapter.title}: {release.download}",
        f"Terms: {release.terms}.",
        f"Paper: {release.paper}.",
    ):
        err.print(line, markup=False, highlight=False, soft_wrap=True)
    if not accepted and sys.stdin.isatty():
        err.print("Do you accept these terms? y/n: ", end="", highlight=False)
        accepted = sys.stdin.readline().strip().lower() in ("y", "yes")
    if not accepted:
        message = f"The terms of {adapter.title} were not accepted."
        raise BusbenchError(Code.USAGE, message, "Read them, then add --accept-terms.")
