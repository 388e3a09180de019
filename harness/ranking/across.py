"""Tables across tracks: every result by training and test set, and the combined ranking.

A matrix of one metric has a row for each method and each track that it was trained on, and a column
for each track that it was tested on. Only methods that were tested away from home are in it. Where
test cases were left out, since the training part has a twin of their patient, the cell says how
many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from harness.ranking.board import Board, Row, Track
from harness.ranking.counting import whose
from harness.ranking.metrics import METRICS, MISSING, RankedMetric, labels
from harness.ranking.names import Markup

Name = Callable[[str], Markup]  # writes a name as literal text of a format
NOTE = (
    "Rows say where a method was trained, columns where it was tested; what was trained elsewhere "
    "is never ranked. In brackets: the test cases, and how many were left out because the training "
    "part has a frame of their patient."
)


@dataclass(frozen=True)
class Trained:
    """One method as it was trained on one track."""

    team: str
    method: str
    trained_on: str
    tested: dict[str, Row]  # track -> its result there


def transfers(board: Board) -> list[Trained]:
    """All results of the methods that were tested away from home, by method and training track."""
    away = {whose(row) for track in board.tracks for row in track.visitors}
    found: dict[tuple[tuple[str, str], str], Trained] = {}
    for track, row in _results(board):
        if (key := whose(row)) not in away:
            continue
        home = row.trained_on or track.track
        one = found.setdefault((key, home), Trained(row.team, row.method, home, {}))
        known = one.tested.get(track.track)
        if known is None or known.entry < row.entry:  # of tables that were sealed apart, the newest
            one.tested[track.track] = row
    return [found[key] for key in sorted(found)]


def _results(board: Board) -> Iterator[tuple[Track, Row]]:
    for track in (track for track in board.tracks if track.part == "test"):
        for row in (*track.rows, *track.visitors):
            yield track, row


def tested_on(found: list[Trained]) -> list[str]:
    """The columns of a matrix."""
    return sorted({track for one in found for track in one.tested})


def cell(row: Row | None, metric: RankedMetric) -> str:
    """One result in a matrix."""
    summary = None if row is None else row.summary(metric.key)
    if row is None or summary is None:
        return MISSING
    left_out = f", {row.left_out} left out" if row.left_out else ""
    incomplete = ", incomplete" if row.status == "incomplete" else ""
    return f"{metric.mean_and_std(summary)} ({row.groups['all'].cases}{left_out}{incomplete})"


def matrices(board: Board, name: Name) -> dict[str, list[list[str]]]:
    """The matrix of each ranked metric, by its caption; none where nothing was tested elsewhere."""
    found, ranked = transfers(board), {key for track in board.tracks for key in track.ranked_by}
    columns = tested_on(found)
    return {
        f"Generalisation: {metric.label} {metric.arrow} by training and test set": [
            _heads(board, columns, metric, name=name),
            *(
                [
                    name(one.method),
                    name(one.team),
                    name(one.trained_on),
                    *(cell(one.tested.get(track), metric) for track in columns),
                ]
                for one in found
            ),
        ]
        for metric in METRICS
        if found and metric.key in ranked
    }


def _heads(board: Board, columns: list[str], metric: RankedMetric, *, name: Name) -> list[str]:
    tested = (f"Tested on {name(track)}{_unit(board, track, metric)}" for track in columns)
    return ["Method", "Team", "Trained on", *tested]


def _unit(board: Board, track: str, metric: RankedMetric) -> str:
    """In what a track has a metric, where that is no plain ratio."""
    tables = [one for one in board.tracks if one.track == track]
    units = sorted({unit for one in tables if (unit := one.units.get(metric.key))})
    return f" [{' or '.join(units)}]" if units else ""


def combined_cells(board: Board, name: Name) -> list[list[str]]:
    """The combined ranking's cells, its heading first; none where no tracks are combined."""
    found = board.combined
    if found is None:
        return []
    sets = [] if found.patients is None else ["Ranks"]
    ranked = [
        [
            str(row.rank),
            *([f"{row.rank_low}–{row.rank_high}"] if sets else []),
            name(row.method),
            name(row.team),
            f"{row.mean_rank:.2f}",
            *(f"{row.mean_ranks[track]:.2f}" for track in found.tracks),
        ]
        for row in found.rows
    ]
    lacking = [
        [
            MISSING,
            *([MISSING] if sets else []),
            name(one.method),
            name(one.team),
            MISSING,
            *("none" if track in one.tracks else MISSING for track in found.tracks),
        ]
        for one in found.lacking
    ]
    head = [
        "Rank",
        *sets,
        "Method",
        "Team",
        "Mean rank",
        *(f"On {name(track)}" for track in found.tracks),
    ]
    return [head, *ranked, *lacking]


def _combined_caption(board: Board, name: Name) -> str:
    assert board.combined is not None
    return f"Combined: {', '.join(map(name, board.combined.tracks))}"


def _combined_note(board: Board) -> str:
    """By what the combined ranking is ordered, and who is left out."""
    found = board.combined
    assert found is not None
    by = labels(found.metrics)
    order = (
        f"Ordered by the mean, over the tracks, of the ranks by the means of {by}: the ledger has "
        "no combined ranking of exactly these results."
        if found.patients is None
        else f"Ordered by the mean, over the tracks, of the mean ranks over cases and {by}; 95 % "
        f"confidence sets of ranks over the {found.patients} patients of all tracks."
    )
    lacking = " Who has no complete result on one of the tracks is listed, not ranked."
    return f"{order} Each track weighs the same.{lacking if found.lacking else ''}"


@dataclass(frozen=True)
class Block:
    """One table across tracks."""

    caption: str
    cells: list[list[str]]  # the heading first
    note: str


def blocks(board: Board, name: Name) -> list[Block]:
    """All tables across tracks that a board has."""
    combined = combined_cells(board, name)
    first = (
        [Block(_combined_caption(board, name), combined, _combined_note(board))] if combined else []
    )
    return first + [Block(title, cells, NOTE) for title, cells in matrices(board, name).items()]
