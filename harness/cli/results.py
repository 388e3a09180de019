"""From the ledger to its readers: `rank` and `table`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evaluator.errors import BusbenchError, Code
from evaluator.harmless import harmless
from harness.challenge import Challenge
from harness.cli.app import app, err, out
from harness.cli.effects import Checked
from harness.cli.options import (
    ChallengeOption,
    JsonOption,
    LedgerArgument,
    OptionalKeys,
    read_challenge,
)
from harness.cli.progress import bars
from harness.cli.screen import COLUMN_GAP, Grid, print_document, print_json
from harness.cli.selection import best_of, without_external_data
from harness.ledger import verify_ledger
from harness.ranking import FORMATS, Board, Format, Track, make_board
from harness.ranking.across import Block, blocks
from harness.ranking.columns import CHOICES, NAMES, Style, chosen_column
from harness.ranking.names import Markup, plain
from harness.ranking.record import record_ranking
from harness.ranking.tables import caption, letter_notes, order_note, track_cells
from harness.sealing.keys import Keys

ColumnsOption = Annotated[
    str | None,
    typer.Option(
        metavar="NAME,NAME",
        help=f"Show these columns beside rank, method and team: {CHOICES}.",
    ),
]
TopOption = Annotated[
    int | None,
    typer.Option(min=1, help="Show the ranked rows up to this rank; ranks stay those among all."),
]


@app.command(cls=Checked)
def rank(
    ledger: LedgerArgument,
    cases: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUNS",
            help="Compute the ranking from these runs; may be repeated.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    keys: OptionalKeys = None,
    track: Annotated[str | None, typer.Option(help="The only track to compute.")] = None,
    columns: ColumnsOption = None,
    top: TopOption = None,
    no_external_data: Annotated[
        bool,
        typer.Option(
            "--no-external-data",
            help="Show those alone whose team states that training saw no data beside the training "
            "bundle; ranks stay those among all.",
        ),
    ] = False,
    challenge: ChallengeOption = None,
    json: JsonOption = False,
) -> None:
    """Show the board: every track's submissions in order of rank.

    With --cases, first compute the ranking from every case of the runs behind the ledger's
    reports (order by mean rank, confidence sets of ranks, tests), and record it in the ledger.
    Reports must be on tracks as challenge.yaml declares them.

    Example: busbench rank demo/ledger.jsonl --cases demo/runs --keys demo/keys
    """
    declared = read_challenge(challenge)
    if cases:
        _record(ledger, cases, keys, track=track, challenge=declared)
    board = make_board(verify_ledger(ledger), declared)
    if no_external_data:
        board = without_external_data(board)
    if top is not None:
        board = best_of(board, top)
    if json:
        print_json(board.document())
        return
    chosen = read_columns(columns, board)
    for found in board.tracks:
        print_board(found, chosen)
    for block in blocks(board, plain):
        print_block(block)
    if not board.ledger_reports:
        out.print(harmless("The ledger has no report yet."))


def _record(
    ledger: Path,
    cases: list[Path],
    keys: Path | None,
    *,
    track: str | None,
    challenge: Challenge | None,
) -> None:
    """Compute and record the ranking, and say what became of each track."""
    if keys is None:
        message = "--cases records the ranking in the ledger, which takes --keys."
        raise BusbenchError(Code.USAGE, message, "Name the folder that `busbench keys new` made.")
    with bars() as progress:
        outcomes = record_ranking(
            ledger, cases, Keys.open(keys), track=track, challenge=challenge, progress=progress
        )
    for one in outcomes:
        count = f"{one.submissions} submission{'' if one.submissions == 1 else 's'}"
        table = f"{one.track} {one.split_version}, {one.part} part"
        err.print(harmless(f"{table}: {count}, {one.state}."))
        for who in one.lost:
            err.print(harmless(f"No run contains {who}: it is listed, not ranked."))


NAME_WIDTH = 12  # characters of a method or team before it is broken
# What stays longest where a terminal is narrow; the first of them always.
IMPORTANT = ("Rank", "Method", "Dice", "HD95", "Group", "Ranks", "Team", "IoU", "Gap")
ALWAYS = 2


def read_columns(text: str | None, board: Board) -> tuple[str, ...]:
    """The names that `--columns` gives; none without it.

    Raises:
        BusbenchError: `usage` where a track of the board has no such column.
    """
    names = () if text is None else tuple(name.strip() for name in text.split(","))
    for track in board.tracks:
        for name in names:
            try:
                chosen_column(track, name)
            except ValueError as error:
                message = f"--columns {name!a}: {error}."
                raise BusbenchError(Code.USAGE, message, f"Name some of {CHOICES}.") from error
    return names


def print_board(track: Track, chosen: tuple[str, ...] = ()) -> None:
    """Print a track's board; columns that do not fit are left out, and named."""
    style = Style(_short, raised=" [{}]")
    every = list(zip(*track_cells(track, style, chosen), strict=True))
    columns = _fitting(every, out.width)
    grid = Grid(harmless(caption(track, plain)))
    for column in columns:
        is_name = column[0] in NAMES  # the only ones that may be broken
        width = _least_width(column)
        grid.column(harmless(column[0]), right=not is_name, whole=not is_name, width=width)
    for row in list(zip(*columns, strict=True))[1:]:  # the first are the heads
        grid.row(*map(harmless, row))
    out.draw(grid)
    for line in letter_notes(track, style):
        out.note(harmless(line))
    note = "Mean ± standard deviation over the fold models; – is incomplete, not ranked."
    out.note(harmless(f"{order_note(track)} {note}"))
    left_out = ", ".join(column[0] for column in every if column not in columns)
    if left_out:
        out.note(harmless(f"Left out for want of width: {left_out}. A file or a pipe has all."))


def print_block(block: Block) -> None:
    """Print a table across tracks."""
    head, *rows = block.cells
    grid = Grid(harmless(block.caption))
    for name in head:
        grid.column(harmless(name), right=name not in NAMES)
    for row in rows:
        grid.row(*map(harmless, row))
    out.draw(grid)
    out.note(harmless(block.note))


def _fitting(columns: list[tuple[str, ...]], width: int) -> list[tuple[str, ...]]:
    """The columns that fit, the most important first; as many as that, in their own order."""
    ordered = sorted(columns, key=_importance)
    chosen = ordered[:ALWAYS]
    left = width - 1 - sum(_least_width(column) + COLUMN_GAP for column in chosen)
    for column in ordered[ALWAYS:]:
        left -= _least_width(column) + COLUMN_GAP
        if left < 0:
            break
        chosen.append(column)
    return [column for column in columns if column in chosen]


def _importance(column: tuple[str, ...]) -> int:
    """Its place among the important columns; behind them for all others."""
    secondary = ", as " in column[0]  # by another profile, which ranks nothing
    starts = [f"{column[0]} ".startswith(f"{name} ") and not secondary for name in IMPORTANT]
    return starts.index(True) if True in starts else len(IMPORTANT)


def _least_width(column: tuple[str, ...]) -> int:
    width = max(map(len, column))
    return min(width, NAME_WIDTH) if column[0] in NAMES else width


def _short(name: str) -> Markup:
    return plain(harmless(name, 32))


@app.command(cls=Checked)
def table(
    ledger: LedgerArgument,
    format: Annotated[Format, typer.Option(help="How to write it.")] = Format.MARKDOWN,
    columns: ColumnsOption = None,
    top: TopOption = None,
    challenge: ChallengeOption = None,
) -> None:
    """Print the board as a table for a paper or a program.

    Example: busbench table demo/ledger.jsonl --format latex
    """
    board = make_board(verify_ledger(ledger), read_challenge(challenge))
    if top is not None:
        board = best_of(board, top)
    chosen = read_columns(columns, board)
    print_document(FORMATS[format](board, chosen) if chosen else FORMATS[format](board))
