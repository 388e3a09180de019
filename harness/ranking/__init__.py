"""Ranking: from verified ledger entries to the board, a pure function."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.ranking.assembly import make_board
    from harness.ranking.board import Board, Row, Track
    from harness.ranking.document import RankedSubmission, TrackRanking, TrackStatistics
    from harness.ranking.metrics import METRICS, RankedMetric
    from harness.ranking.records import to_csv
    from harness.ranking.tables import FORMATS, Format, to_html, to_latex, to_markdown

# Imported when it is asked for: who prints a report needs the metrics, and no board.
_MODULES = {
    "assembly": ("make_board",),
    "board": ("Board", "Row", "Track"),
    "document": ("RankedSubmission", "TrackRanking", "TrackStatistics"),
    "metrics": ("METRICS", "RankedMetric"),
    "records": ("to_csv",),
    "tables": ("FORMATS", "Format", "to_html", "to_latex", "to_markdown"),
}

__all__ = [
    "FORMATS",
    "METRICS",
    "Board",
    "Format",
    "RankedMetric",
    "RankedSubmission",
    "Row",
    "Track",
    "TrackRanking",
    "TrackStatistics",
    "make_board",
    "to_csv",
    "to_html",
    "to_latex",
    "to_markdown",
]


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
