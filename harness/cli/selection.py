"""Parts of a board: the rows that a reader asks for, with their ranks among all."""

from __future__ import annotations

from evaluator.documents.notes import NONE
from evaluator.harmless import harmless
from harness.cli.app import err
from harness.ranking import Board, Row
from harness.ranking.combined import CombinedBoard


def without_external_data(board: Board) -> Board:
    """The board with the rows that state that they saw none; what is left out is said."""
    tracks = []
    for track in board.tracks:
        rows, visitors = _stating_none(track.rows), _stating_none(track.visitors)
        unknown = sum(row.notes.external_data is None for row in track.rows)
        message = (
            f"{track.track} {track.split_version}: {len(rows)} of {len(track.rows)} state that "
            f"they saw no external data, {unknown} do not state it; ranks are among all."
        )
        err.print(harmless(message))
        if rows or visitors:
            tracks.append(track.model_copy(update={"rows": rows, "visitors": visitors}))
    left = [row for track in tracks for row in track.rows]
    combined = board.combined and _combined_of(board.combined, left)
    return board.model_copy(update={"tracks": tuple(tracks), "combined": combined})


def _combined_of(found: CombinedBoard, rows: list[Row]) -> CombinedBoard:
    """The methods over several tracks of which all results are among `rows`."""
    entries, names = {row.entry for row in rows}, {(row.team, row.method) for row in rows}
    ranked = tuple(one for one in found.rows if entries.issuperset(one.entries.values()))
    lacking = tuple(one for one in found.lacking if (one.team, one.method) in names)
    return found.model_copy(update={"rows": ranked, "lacking": lacking})


def _stating_none(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    return tuple(row for row in rows if row.notes.external_data == NONE)


def best_of(board: Board, most: int) -> Board:
    """The board with the ranked rows up to a rank, ties among them; what is left out is said."""
    tracks = []
    for track in board.tracks:
        rows = tuple(row for row in track.ranked if row.rank is not None and row.rank <= most)
        if len(rows) < len(track.rows):
            message = (
                f"{track.track} {track.split_version}: {len(rows)} of {len(track.rows)} are shown, "
                "with their ranks among all; a mark of the best is of these."
            )
            err.print(harmless(message))
        if rows or track.visitors:
            tracks.append(track.model_copy(update={"rows": rows}))
    combined = board.combined and board.combined.model_copy(
        update={"rows": tuple(row for row in board.combined.rows if row.rank <= most)}
    )
    return board.model_copy(update={"tracks": tuple(tracks), "combined": combined})
