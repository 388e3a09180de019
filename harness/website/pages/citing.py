"""Citations of a challenge and of its entries: BibTeX that names the ledger by digest."""

from __future__ import annotations

from evaluator.documents.base import Digest
from harness.challenge import About
from harness.ledger import Instant, RecordedReport
from harness.ranking import Board
from harness.ranking.names import latex

_NO_BRACES = str.maketrans("{}", "()")  # BibTeX counts them, escaped or not


def cite_board(board: Board) -> str:
    """A BibTeX entry of the whole board as it is now."""
    about = board.challenge
    reports = f"ledger of {board.ledger_reports} reports"
    return _misc(
        board.ledger_head,
        board.ledger_updated,
        title=about.title,
        author=about.organiser or about.title,
        note=f"{reports}, last entry {board.ledger_head}",
    )


def cite_entry(about: About, entry: RecordedReport, track_title: str) -> str:
    """A BibTeX entry of one result.

    Args:
        about: the challenge whose ledger the entry is in.
        track_title: of the entry's track, for readers.
    """
    report = entry.report
    return _misc(
        entry.digest,
        entry.time,
        title=f"{report.method} on {track_title}",
        author=report.team,
        note=f"entry {entry.number} of the ledger of {about.title}, digest {entry.digest}",
    )


def _misc(digest: Digest, time: Instant, **fields: str) -> str:
    lines = [
        f"  {name} = {{{{{latex(text.translate(_NO_BRACES))}}}}}," for name, text in fields.items()
    ]
    return "\n".join([f"@misc{{busbench-{digest[:12]},", *lines, f"  year = {time[:4]}", "}"])
