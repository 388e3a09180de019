"""Ranking: from verified ledger entries to the board, a pure function."""

from harness.ranking.assembly import make_board
from harness.ranking.board import Board, Row, Track
from harness.ranking.document import RankedSubmission, TrackRanking, TrackStatistics
from harness.ranking.metrics import METRICS, RankedMetric
from harness.ranking.records import to_csv
from harness.ranking.tables import FORMATS, Format, to_html, to_latex, to_markdown

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
