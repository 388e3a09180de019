"""Ranking: from the ledger's reports to a board. A pure function, so anyone can rebuild it."""

from harness.ranking.board import Board, Row, Track, build_board

__all__ = ["Board", "Row", "Track", "build_board"]
