"""From a ledger to a site: same ledger, same bytes, and a half-written site never shows.

SITE/index.html   the board, for people
SITE/board.json   the board, for programs
SITE/board.csv    the same, for spreadsheets
"""

from __future__ import annotations

import base64
import hashlib
import shutil
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from evaluator.contract import GroupScores
from evaluator.errors import BusbenchError
from evaluator.files import disk_errors, pretty_json, write_atomically
from evaluator.metrics import METRICS
from harness.ledger import LedgerVerdict, verify_ledger
from harness.ranking import Board, Row, Track, build_board
from harness.ranking.board import RANKED
from harness.ranking.table import as_csv, flat_rows, spread
from harness.site.plot import Plot, dot_plot

HERE = Path(__file__).parent
FILES = {"index.html", "board.json", "board.csv"}


def publish(ledger: Path, out: Path) -> Path:
    """Verify a ledger and write its board as a site.

    Returns:
        The page.

    Raises:
        BusbenchError: `ledger-invalid`; `output-exists` where `out` holds anything but a site.
    """
    if out.exists() and (not out.is_dir() or not _is_site(out)):
        raise BusbenchError(
            "output-exists", f"{out} holds something that is no site.", "Name another folder."
        )
    verdict = verify_ledger(ledger)
    board = build_board(verdict.reports, verdict.head)
    document = {
        "schema": "busbench/board/v1",
        "ledger_head": verdict.head,
        "key": verdict.key,
        "rows": flat_rows(board),
    }
    partial, old = (out.with_name(f".{out.name}.{kind}") for kind in ("partial", "old"))
    with disk_errors(partial):
        shutil.rmtree(partial, ignore_errors=True)
        write_atomically(partial / "board.json", pretty_json(document))
        write_atomically(partial / "board.csv", as_csv(board).encode())
        write_atomically(partial / "index.html", render(board, verdict).encode())
        shutil.rmtree(old, ignore_errors=True)
        if out.exists():
            out.replace(old)
        partial.replace(out)
        shutil.rmtree(old, ignore_errors=True)
    return out / "index.html"


def _is_site(folder: Path) -> bool:
    names = {path.name for path in folder.iterdir()}
    return not names or names == FILES


def render(board: Board, verdict: LedgerVerdict) -> str:
    """The page; every name from a participant is escaped, and nothing is loaded from elsewhere."""
    style = (HERE / "style.css").read_text()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    environment = Environment(
        loader=PackageLoader("harness.site", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("index.html.j2").render(
        board=board,
        verdict=verdict,
        metrics=[METRICS[name] for name in RANKED],
        plots=[plots(track) for track in board.tracks],
        spread=spread,
        style=Markup(style),  # our own file; the policy names its digest
        style_digest=digest,
    )


def plots(track: Track) -> list[Plot]:
    """One dot-and-interval plot for each ranked metric, of the complete reports."""
    ranked = [row for row in track.rows if row.rank is not None]
    if not ranked:
        return []
    found = []
    for name in RANKED:
        unit = f" in {track.units[name]}" if track.units[name] else ""
        better = "higher" if METRICS[name].higher_is_better else "lower"
        entries = [
            (f"{row.report.method} · {row.report.team}", _overall(row).metrics[name])
            for row in ranked
        ]
        found.append(dot_plot(f"{METRICS[name].title}{unit}, {better} is better", entries))
    return found


def _overall(row: Row) -> GroupScores:
    return row.report.scores.groups["all"]
