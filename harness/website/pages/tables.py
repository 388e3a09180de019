"""A track's table in other forms: files to take away, and what its page's scripts ask for.

A page may load scripts of its own site and nothing else (`POLICY`), also from a folder. So what a
script asks for later is a script, too: it sets one name of `boardTables`, see `load` in board.js.
All text in them is written here, so that a page, `busbench table` and a file say the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from evaluator.files import canonical_json
from harness.ledger.report import Report
from harness.ranking import METRICS, Row, Track, to_csv
from harness.ranking.columns import NAMED, Style, chosen_column
from harness.ranking.metrics import BY_KEY, MISSING, RankedMetric
from harness.ranking.names import plain
from harness.ranking.tables import to_latex, to_markdown
from harness.website.edition import Edition
from harness.website.pages.past import PastBoard
from harness.website.rendering import day, group_title, in_order
from harness.website.views import View

DEFAULT = tuple(metric.key for metric in METRICS)  # the columns that a page is served with
PLAIN = Style(plain)


def table_files(
    edition: Edition, view: View, boards: Sequence[PastBoard]
) -> Iterator[tuple[str, bytes]]:
    """Every file of a track's table, by its path; `boards` are those of the past."""
    board = edition.board.model_copy(update={"tracks": (view.track,), "combined": None})
    yield f"tables/{view.name}.csv", to_csv(board).encode()
    alone = view.track.model_copy(update={"visitors": ()})
    board = board.model_copy(update={"tracks": (alone,)})
    texts = {"md": to_markdown(board, DEFAULT), "tex": to_latex(board, DEFAULT)}
    for end, text in texts.items():
        yield f"tables/{view.name}.{end}", text.encode()
    yield _script(view, "texts", texts)
    yield _script(view, "compare", _comparison(view.track))
    if len(boards) > 1:
        yield _script(view, "past", _past(edition, boards))
    groups = [group for group, _ in groups_of(view.track)]
    for place, group in enumerate(groups):
        yield _script(view, f"columns-{place}", _columns(view.track, group))


def _script(view: View, name: str, data: object) -> tuple[str, bytes]:
    text = b'boardTables["' + name.encode() + b'"] = ' + canonical_json(data) + b";\n"
    return f"tables/{view.name}/{name}.js", text


# --- columns -------------------------------------------------------------------------------------


def groups_of(track: Track) -> list[tuple[str, str]]:
    """The groups of images that any row has results over, each with its title; all images first."""
    groups = {name: None for row in track.rows for name in row.groups}
    return [("all", group_title("all"))] + [
        (name, group_title(name)) for name, _ in in_order(groups) if name != "all"
    ]


def _columns(track: Track, group: str) -> dict[str, object]:
    """The columns that `--columns` names over one group, those that are empty left out.

    Cells are in the order of `entries`.
    """
    found = []
    for name in _names(group):
        try:
            column = chosen_column(track, name)
        except ValueError:  # this track has no such column
            continue
        cells = [str(column.text(row, PLAIN)) for row in track.rows]
        if {*cells} != {MISSING}:
            found.append({"name": name, "head": column.head, "cells": cells})
    entries = [row.entry for row in track.rows]
    groups = groups_of(track) if group == "all" else []
    return {"entries": entries, "columns": found, "groups": groups}


def _names(group: str) -> list[str]:
    """The names of all columns over a group, as `--columns` takes them."""
    if group != "all":
        return [f"{kind}{key}@{group}" for key in BY_KEY for kind in ("", "interval:")]
    over_all = [f"{kind}{key}" for key in BY_KEY for kind in ("", "interval:", "ensemble:")]
    return [*over_all, *(f"worst:{metric.key}" for metric in METRICS), *NAMED]


# --- comparison ----------------------------------------------------------------------------------


def _comparison(track: Track) -> dict[str, object]:
    """What is known of each row, and of pairs of them, for the rows that a reader selects."""
    tests = track.statistics.significance if track.statistics else None
    numbers = {row.entry_digest: row.entry for row in track.rows}
    return {
        "metrics": [
            {
                "key": metric.key,
                "title": metric.title(track.units),
                "label": metric.label,
                "digits": metric.digits,
            }
            for metric in METRICS
        ],
        "results": {str(row.entry): _result(row) for row in track.rows},
        "tested": [numbers[digest] for digest in tests.entries] if tests else [],
        "p": tests.adjusted if tests else {},
        "level": tests.level if tests else None,
        "halfWidths": tests.half_widths if tests else {},
    }


def _result(row: Row) -> dict[str, object]:
    return {
        "name": str(plain(row.method)),
        "team": str(plain(row.team)),
        "rank": MISSING if row.rank is None else str(row.rank),
        "ranks": row.ranked.rank_set if row.ranked else MISSING,
        "group": row.ranked.group if row.ranked else MISSING,
        "metrics": {
            metric.key: {
                "mean": _mean(row, metric),
                "text": metric.mean_and_std(row.summary(metric.key)),
                "interval": metric.interval(row.summary(metric.key)),
                "rank": f"{row.ranked.metrics[metric.key].mean_rank:.2f}" if row.ranked else "",
            }
            for metric in METRICS
        },
    }


def _mean(row: Row, metric: RankedMetric) -> float | None:
    """The mean over all images; of an incomplete result none, which is over other images."""
    found = row.summary(metric.key)
    return None if found is None or row.rank is None else found.mean


# --- boards of the past --------------------------------------------------------------------------


def _past(edition: Edition, boards: Sequence[PastBoard]) -> dict[str, object]:
    there = {row.entry for board in boards for row in board.rows}
    return {
        "boards": [
            {
                "number": board.number,
                "day": day(board.time),
                "rows": [[row.entry, row.rank, row.group] for row in board.rows],
            }
            for board in boards
        ],
        "results": {
            str(entry.number): [
                str(plain(entry.report.method)),
                str(plain(entry.report.team)),
                *_means(entry.report),
            ]
            for entry in edition.reports
            if entry.number in there
        },
    }


def _means(report: Report) -> list[str]:
    found = report.scores.groups.get("all")
    means = {} if found is None else found.metrics
    return [metric.mean_and_std(means.get(metric.key)) for metric in METRICS]
