"""From the ledger to its readers: `rank`, `table`, `publish`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from harness.challenge import load_challenge
from harness.cli.app import app, out, print_json
from harness.cli.options import ChallengeOption
from harness.feedback import Book, demand_open
from harness.lanes.submit import today
from harness.ledger import verify_ledger
from harness.ranking import FORMATS, METRICS, Format, Track, make_board, track_cells
from harness.ranking.names import plain
from harness.site import publish

LedgerPath = Annotated[Path, typer.Argument(metavar="LEDGER", help="A ledger, ledger.jsonl.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@app.command()
def rank(ledger: LedgerPath, json: Json = False) -> None:
    """Show the board: every track's submissions in order of rank.

    Example: busbench rank demo/ledger.jsonl
    """
    board = make_board(verify_ledger(ledger))
    if json:
        print_json(board.document())
        return
    for track in board.tracks:
        out.print(board_table(track))
    if not board.tracks:
        out.print("The ledger holds no report yet.")


NAME_WIDTH = 12  # signs of a method or team before it is broken
COLUMN_GAP = 3  # signs that a column takes beside its text


def board_table(track: Track) -> Table:
    """A track's board for the terminal; what does not fit a narrow one is left out at the right."""
    columns = list(zip(*track_cells(track, _short, "{}"), strict=True))
    widths = [max(map(len, column)) for column in columns]
    title = f"{track.track} · split {track.split_version} · profile {track.metric_profile}"
    note = "mean ± standard deviation over the fold models; – is incomplete, not ranked"
    grid = Table(
        title=title, caption=note, title_justify="left", caption_justify="left", box=SIMPLE_HEAD
    )
    needed, shown = 0, 0
    for (head, *_), width in zip(columns, widths, strict=True):
        is_name = head in ("Method", "Team")  # the only ones that may be broken
        least = min(width, NAME_WIDTH) if is_name else width
        needed += least + COLUMN_GAP
        if needed > out.width and shown >= 3 + len(METRICS):
            break
        shown += 1
        grid.add_column(
            Text(head),
            justify="left" if is_name else "right",
            no_wrap=not is_name,
            overflow="fold",
            min_width=least,
        )
    for cells in list(zip(*columns[:shown], strict=True))[1:]:  # the first are the heads
        grid.add_row(*map(Text, cells))
    return grid


def _short(name: str) -> str:
    text = Text(plain(name))
    text.truncate(32, overflow="ellipsis")
    return text.plain


@app.command()
def table(
    ledger: LedgerPath,
    format: Annotated[Format, typer.Option(help="How to write it.")] = Format.MARKDOWN,
) -> None:
    """Print the board as a table for a paper or a program.

    Example: busbench table demo/ledger.jsonl --format latex
    """
    sys.stdout.write(FORMATS[format](make_board(verify_ledger(ledger))))


@app.command(name="publish")
def publish_site(
    ledger: LedgerPath,
    site: Annotated[Path, typer.Option("--out", help="The folder of the site.")],
    challenge: ChallengeOption = None,
) -> None:
    """Write the board as a static site, which any web server or browser can show.

    Refused while a phase of challenge.yaml hides exact results.

    Example: busbench publish demo/ledger.jsonl --out demo/site
    """
    demand_open(Book.beside(ledger).submissions, load_challenge(challenge), today())
    publish(ledger, site)
    out.print(
        f"The site is at {site / 'index.html'}", markup=False, highlight=False, soft_wrap=True
    )
