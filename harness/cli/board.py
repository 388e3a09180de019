"""Verbs that read the ledger: rank, table, publish."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from harness.cli.app import app, out, print_json
from harness.cli.options import JsonOption
from harness.ledger import verify_ledger
from harness.ranking import Board, Row, build_board
from harness.ranking.board import RANKED
from harness.ranking.table import flat_rows, paper_table, spread
from harness.site import publish as publish_site

LedgerArgument = Annotated[Path, typer.Argument(help="The ledger that `evaluate --ledger` wrote.")]


class TableFormat(StrEnum):
    """Forms of the table."""

    MARKDOWN = "markdown"
    LATEX = "latex"
    CSV = "csv"


def read_board(ledger: Path) -> Board:
    """The board of a ledger, which is verified first."""
    verdict = verify_ledger(ledger)
    return build_board(verdict.reports, verdict.head)


@app.command()
def rank(ledger: LedgerArgument, as_json: JsonOption = False) -> None:
    """Print the board of a ledger.

    Example: busbench rank demo/ledger.jsonl
    """
    board = read_board(ledger)
    print_json(flat_rows(board)) if as_json else print_board(board)


@app.command()
def table(
    ledger: LedgerArgument,
    form: Annotated[TableFormat, typer.Option("--format")] = TableFormat.MARKDOWN,
) -> None:
    """Print the board as a table for a paper.

    Example: busbench table demo/ledger.jsonl --format latex
    """
    typer.echo(paper_table(read_board(ledger), form.value), nl=False)


@app.command()
def publish(
    ledger: LedgerArgument,
    out_dir: Annotated[Path, typer.Option("--out", help="The site's folder.")],
) -> None:
    """Write the leaderboard as a static site.

    Example: busbench publish demo/ledger.jsonl --out site
    """
    out.print(str(publish_site(ledger, out_dir)), soft_wrap=True, highlight=False)


def print_board(board: Board) -> None:
    """The board in a terminal."""
    for track in board.tracks:
        form = Table(title=f"Track {track.name}, split {track.split_version}", title_justify="left")
        form.add_column("#", justify="right")
        form.add_column("method")
        form.add_column("team")
        for name in RANKED:
            form.add_column(f"{name} {track.units[name]}".strip(), justify="right")
        form.add_column("trained")
        for row in track.rows:
            form.add_row(*_cells(row))
        out.print(form)


def _cells(row: Row) -> list[str]:
    report = row.report
    metrics = report.scores.groups["all"].metrics
    return [
        "–" if row.rank is None else str(row.rank),
        escape(report.method),
        escape(report.team),
        *(spread(metrics[name]) for name in RANKED),
        "here" if report.provenance.trained_here else "supplied",
    ]
