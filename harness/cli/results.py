"""From the ledger to its readers: `rank`, `table`, `publish`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from evaluator.errors import BusbenchError, Code
from harness.challenge import load_challenge
from harness.cli.app import app, err, out, print_json
from harness.cli.options import ChallengeOption, JsonOption, LedgerArgument, OptionalKeys
from harness.cli.progress import bars
from harness.ledger import verify_ledger
from harness.quotas import SubmissionLog, require_open
from harness.quotas.recording import today
from harness.ranking import FORMATS, METRICS, Format, Track, make_board
from harness.ranking.names import plain
from harness.ranking.record import record_ranking
from harness.ranking.tables import NAMES, Style, caption, order_note, track_cells
from harness.sealing.keys import Keys
from harness.website import publish


@app.command()
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
    challenge: ChallengeOption = None,
    json: JsonOption = False,
) -> None:
    """Show the board: every track's submissions in order of rank.

    With --cases, first compute the ranking from every case of the runs behind the ledger's
    reports (order by mean rank, tests, a bootstrap over patients), and record it in the ledger.
    Reports must be on tracks as challenge.yaml declares them.

    Example: busbench rank demo/ledger.jsonl --cases demo/runs --keys demo/keys
    """
    declared = load_challenge(challenge)
    if cases:
        if keys is None:
            message = "--cases records the ranking in the ledger, which takes --keys."
            raise BusbenchError(
                Code.USAGE, message, "Name the folder that `busbench keys new` made."
            )
        with bars() as progress:
            outcomes = record_ranking(
                ledger,
                cases,
                Keys.open(keys),
                track=track,
                challenge=declared,
                progress=progress,
            )
        for one in outcomes:
            count = f"{one.submissions} submission{'' if one.submissions == 1 else 's'}"
            err.print(f"{one.track} {one.split_version}: {count}, {one.state}.", highlight=False)
    elif keys or track:
        raise BusbenchError(
            Code.USAGE, "--keys and --track belong to --cases.", "Name --cases, too."
        )
    board = make_board(verify_ledger(ledger), declared)
    if json:
        print_json(board.document())
        return
    for found in board.tracks:
        out.print(board_table(found))
    if not board.tracks:
        out.print("The ledger has no report yet.")


NAME_WIDTH = 12  # characters of a method or team before it is broken
COLUMN_GAP = 3  # characters that a column takes beside its text


def board_table(track: Track) -> RenderableType:
    """A track's board for the terminal; columns that do not fit are left out."""
    columns = _fitting(list(zip(*track_cells(track, Style(_short)), strict=True)), track)
    grid = Table(title=Text(caption(track, plain)), title_justify="left", box=SIMPLE_HEAD)
    for head, *cells in columns:
        is_name = head in NAMES  # the only ones that may be broken
        grid.add_column(
            Text(head),
            justify="left" if is_name else "right",
            no_wrap=not is_name,
            overflow="fold",
            min_width=_least_width((head, *cells)),
        )
    for row in list(zip(*columns, strict=True))[1:]:  # the first are the heads
        grid.add_row(*map(Text, row))
    note = "Mean ± standard deviation over the fold models; – is incomplete, not ranked."
    return Group(grid, Text(f"{order_note(track)} {note}", style="italic dim"))


def _fitting(columns: list[tuple[str, ...]], track: Track) -> list[tuple[str, ...]]:
    """The columns that must be shown, and of the others, from the left, those that fit."""
    needed = {"Rank", *NAMES, *(metric.title(track.units) for metric in METRICS)}
    left = out.width - sum(_least_width(c) + COLUMN_GAP for c in columns if c[0] in needed)
    for column in columns:
        width = _least_width(column) + COLUMN_GAP
        if column[0] not in needed and width <= left:
            needed.add(column[0])
            left -= width
    return [column for column in columns if column[0] in needed]


def _least_width(column: tuple[str, ...]) -> int:
    width = max(map(len, column))
    return min(width, NAME_WIDTH) if column[0] in NAMES else width


def _short(name: str) -> str:
    text = Text(plain(name))
    text.truncate(32, overflow="ellipsis")
    return text.plain


@app.command()
def table(
    ledger: LedgerArgument,
    format: Annotated[Format, typer.Option(help="How to write it.")] = Format.MARKDOWN,
    challenge: ChallengeOption = None,
) -> None:
    """Print the board as a table for a paper or a program.

    Example: busbench table demo/ledger.jsonl --format latex
    """
    sys.stdout.write(FORMATS[format](make_board(verify_ledger(ledger), load_challenge(challenge))))


@app.command(name="publish")
def publish_site(
    ledger: LedgerArgument,
    site: Annotated[Path, typer.Option("--out", help="The folder of the site.", file_okay=False)],
    splits: Annotated[
        list[Path] | None,
        typer.Option(
            help="A frozen split, or a folder of them, whose audit to show; repeatable.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    challenge: ChallengeOption = None,
) -> None:
    """Write the board as a static site, which any web server or browser can show.

    It says what challenge.yaml says of the challenge and its tracks. Refused where a report is not
    on a track as declared, and while a phase hides exact results.

    Example: busbench publish demo/ledger.jsonl --out demo/site --splits demo/split
    """
    declared = load_challenge(challenge)
    reports = [entry.report for entry in verify_ledger(ledger).reports]
    log = SubmissionLog.beside(ledger).submissions
    require_open(log, declared, today(), reports=reports)
    publish(ledger, site, splits or (), challenge=declared)
    out.print(
        f"The site is at {site / 'index.html'}", markup=False, highlight=False, soft_wrap=True
    )
