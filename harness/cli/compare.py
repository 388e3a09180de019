"""`busbench compare`: two submissions case by case."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from evaluator.harmless import Harmless, harmless
from harness.cli.app import app, out
from harness.cli.options import JsonOption, LedgerArgument
from harness.cli.screen import Grid, print_json
from harness.ledger import RecordedReport, verify_ledger
from harness.ranking.comparison import Comparison, Difference, compare


@app.command(name="compare")
def compare_two(
    ledger: LedgerArgument,
    first: Annotated[str, typer.Argument(help="An entry's number, or a method's name.")],
    second: Annotated[str, typer.Argument(help="The other one.")],
    cases: Annotated[
        list[Path],
        typer.Option(
            metavar="RUNS",
            help="Take the cases from these runs; may be repeated.",
            exists=True,
            file_okay=False,
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Compare two submissions case by case: differences, intervals, a paired test.

    For one pair that you chose before looking: the p-value is not adjusted. Who is better than
    whom among all is what `busbench rank` says.

    Example: busbench compare demo/ledger.jsonl 1 2 --cases demo/runs
    """
    found = compare(verify_ledger(ledger), cases, (first, second))
    if as_json:
        return print_json(_document(found))
    names = (_name(found.first), _name(found.second))
    grid = Grid(harmless(f"{names[0]} (1) against {names[1]} (2)"))
    grid.column(harmless("Metric"), whole=True)
    for head in ("1", "2", "1 - 2", "95 % interval", "p", "1 better", "2 better", "equal"):
        grid.column(harmless(head), right=True, whole=True)
    units = found.first.report.scores.units
    for one in found.differences:
        grid.row(harmless(one.metric.title(units)), *_cells(one))
    out.draw(grid)
    return out.note(
        harmless(
            f"{found.cases} cases of {found.patients} patients. Interval: of the mean difference, "
            "over patients; p: Wilcoxon's two-sided test over patients, for this pair alone."
        )
    )


def _cells(one: Difference) -> tuple[Harmless, ...]:
    number = one.metric.number
    ends = "–" if one.interval is None else " to ".join(map(number, one.interval))
    shown = "<0.001" if one.p < 0.001 else f"{one.p:.3f}"
    means = [number(value) for value in (one.first, one.second, one.difference)]
    counts = [str(count) for count in (one.better, one.worse, one.equal)]
    return tuple(map(harmless, [*means, ends, shown, *counts]))


def _name(entry: RecordedReport) -> str:
    return f"{entry.report.method} of {entry.report.team}"


def _document(found: Comparison) -> dict[str, object]:
    sides = {"first": found.first, "second": found.second}
    return {
        **{side: {"entry": e.number, "method": e.report.method} for side, e in sides.items()},
        "cases": found.cases,
        "patients": found.patients,
        "metrics": {
            one.metric.key: {k: v for k, v in asdict(one).items() if k != "metric"}
            | {"difference": one.difference}
            for one in found.differences
        },
    }
