"""`busbench prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluator.errors import BusbenchError, Code
from evaluator.harmless import harmless
from harness.cli.app import app, out
from harness.cli.effects import Checked
from harness.cli.options import JsonOption
from harness.cli.progress import bars
from harness.cli.refusals import refusal_tables, refusals_drawn
from harness.cli.screen import Grid, print_json
from harness.datasets import ADAPTERS, phantom
from harness.prepare import PrepareResult
from harness.prepare import prepare as run

NAMES = ", ".join(sorted(ADAPTERS))


@app.command(cls=Checked)
def prepare(
    *,
    dataset: Annotated[str, typer.Argument(help=f"One of {NAMES}, or an adapter's .py file.")],
    raw: Annotated[Path, typer.Option(help="The release as unpacked.", file_okay=False)],
    store: Annotated[
        Path, typer.Option("--out", help="The store to write: a new folder.", file_okay=False)
    ],
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse what would be repaired.")
    ] = False,
    skip_refused: Annotated[
        bool, typer.Option("--skip-refused", help="Leave refused cases out rather than fail.")
    ] = False,
    as_json: JsonOption = False,
    patients: Annotated[
        int | None,
        typer.Option(
            min=1,
            show_default=str(phantom.PATIENTS),
            help="Phantoms, where --raw is empty: of how many patients.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            show_default=str(phantom.SEED),
            help="Phantoms, where --raw is empty: the random number generator's seed.",
        ),
    ] = None,
) -> None:
    """Turn a dataset as downloaded into a case store.

    Example: busbench prepare busbra --raw data/BUSBRA --out stores/busbra
    """
    simulated = dataset == phantom.ADAPTER.name
    if not simulated and not raw.is_dir():
        message = f"--raw {raw} does not exist."
        raise BusbenchError(Code.USAGE, message, "Name the folder of the release as unpacked.")
    with refusals_drawn(), bars() as progress:
        if simulated:
            phantom.generate(raw, patients, seed, progress=progress)
        result = run(
            dataset, raw, store, strict=strict, skip_refused=skip_refused, progress=progress
        )
    if as_json:
        print_json(_document(result))
    else:
        _show(result)


def _document(result: PrepareResult) -> dict[str, object]:
    return {
        "store": str(result.store.path),
        "resumed": result.resumed,
        "found": result.store.info.document(),
        "stated": {"classes": dict(result.release.classes), "patients": result.release.patients},
        "repaired": result.repaired,
        "refused": [refused.document() for refused in result.refused],
    }


def _show(result: PrepareResult) -> None:
    info, release = result.store.info, result.release
    counts = Grid(harmless(info.dataset), *map(harmless, ("", "found", "release")))
    for label in sorted(set(info.classes) | set(release.classes)):
        stated = release.classes.get(label)  # type: ignore[call-overload]
        counts.row(*map(harmless, (label, info.classes.get(label, 0), _or_dash(stated))))
    patients = ("patients", _or_dash(info.patients), _or_dash(release.patients))
    counts.row(*map(harmless, patients))
    spaced = sum(case.spacing is not None for case in result.store.cases)
    counts.row(*map(harmless, ("with pixel size", spaced, "-")))
    out.draw(counts)
    out.print(harmless(f"Store: {result.store.path}"))
    repaired = {case.shown: case.repairs for case in result.store.cases if case.repairs}
    for table in refusal_tables(repaired, result.refused):
        out.draw(table)
    source = f"Get it: {release.download}. Terms: {release.terms}. Cite: {release.paper}."
    out.print(harmless(source))
    if result.resumed:
        out.print(harmless("Nothing to do: the store was made of these very files already."))


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)
