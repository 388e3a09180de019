"""How does the board read as Markdown, CSV and LaTeX?

Markdown and LaTeX are for papers: mean ± standard deviation, the best of each metric in bold. CSV
is for programs: one row a submission, every number in full.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from enum import StrEnum

from harness.ranking import names
from harness.ranking.board import Board, Row, Track
from harness.ranking.metrics import GAP, METRICS, MISSING, RankedMetric

GROUPS = ("all", "lesion", "normal")
EXTRAS = (GAP.label, "Parameters [M]", "GMACs", "Latency [ms]")


def to_markdown(board: Board) -> str:
    """One pipe table a track, under its own heading."""
    return "\n".join(_markdown_track(track) for track in board.tracks)


def _markdown_track(track: Track) -> str:
    rows = track_cells(track, names.markdown, "**{}**")
    rule = ["--:", "---", "---", *["--:"] * (len(rows[0]) - 3)]
    lines = ["| " + " | ".join(cells) + " |" for cells in (rows[0], rule, *rows[1:])]
    return "\n".join([f"### {_caption(track)}", "", *lines, ""])


def to_latex(board: Board) -> str:
    r"""One booktabs `tabular` a track; needs `\usepackage{booktabs}`."""
    return "\n".join(_latex_track(track) for track in board.tracks)


def _latex_track(track: Track) -> str:
    head, *body = (
        " & ".join(cells).translate(_LATEX_SIGNS) + r" \\"
        for cells in track_cells(track, names.latex, r"\textbf{{{}}}")
    )
    return "\n".join(
        [
            f"% {_caption(track)}",
            rf"\begin{{tabular}}{{rll{'r' * (len(METRICS) + len(EXTRAS))}}}",
            *(r"\toprule", head, r"\midrule", *body, r"\bottomrule"),
            *(r"\end{tabular}", ""),
        ]
    )


_LATEX_SIGNS = str.maketrans(
    {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "±": r"$\pm$", MISSING: "--"}
)


def _caption(track: Track) -> str:
    return f"{track.track}, split {track.split_version}, profile {track.metric_profile}"


def track_cells(track: Track, name: Callable[[str], str], bold: str) -> list[list[str]]:
    """The table's cells, its heading first; `bold` marks the best of each metric."""
    best = {metric.key: _best(track, metric) for metric in METRICS}
    rows = [["Rank", "Method", "Team", *(m.title(track.units) for m in METRICS), *EXTRAS]]
    for row in track.rows:
        scores = []
        for metric in METRICS:
            summary = row.summary(metric.key)
            text = metric.mean_and_std(summary)
            is_best = row.rank and summary and summary.mean == best[metric.key]
            scores.append(bold.format(text) if is_best else text)
        place = MISSING if row.rank is None else str(row.rank)
        rows.append([place, name(row.method), name(row.team), *scores, *_extras(row)])
    return rows


def _extras(row: Row) -> list[str]:
    gmacs = MISSING if row.gmacs is None else f"{row.gmacs:.2f}"
    latency = f"{row.runtime.latency_ms:.1f} ({row.runtime.device})"
    gap = MISSING if row.gap is None else GAP.number(row.gap.mean)
    return [gap, f"{row.parameters / 1e6:.2f}", gmacs, latency]


def _best(track: Track, metric: RankedMetric) -> float | None:
    values = [summary.mean for row in track.ranked if (summary := row.summary(metric.key))]
    return (max if metric.higher_is_better else min)(values, default=None)


def to_csv(board: Board) -> str:
    """One line a submission; empty where a value is missing; units in their own column."""
    records = [_record(track, row) for track in board.tracks for row in track.rows]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for record in records:
        writer.writerow([record[column] for column in CSV_COLUMNS])
    return text.getvalue()


CSV_COLUMNS = (
    *("track", "split_version", "metric_profile", "rank", "mean_rank", "team", "method", "status"),
    *(
        f"{group}_{name}"
        for group in GROUPS
        for name in (
            "cases",
            *(
                f"{metric.key}_{part}"
                for metric in METRICS
                for part in ("mean", "std", "ci_low", "ci_high")
            ),
        )
    ),
    *("dice_gap_mean", "dice_gap_ci_low", "dice_gap_ci_high"),
    *("hd95_unit", "parameters", "gmacs", "latency_ms", "device", "provider", "backend"),
    *("labels", "trained_here", "runner", "invalid", "entry", "entry_digest"),
)


def _record(track: Track, row: Row) -> dict[str, object]:
    record: dict[str, object] = {
        **row.model_dump(exclude={"groups", "runtime"}),
        "team": names.spreadsheet(row.team),
        "method": names.spreadsheet(row.method),
        "track": track.track,
        "split_version": track.split_version,
        "metric_profile": track.metric_profile,
        "hd95_unit": track.units.get("hd95", ""),
        **row.runtime.model_dump(include={"latency_ms", "device", "provider", "backend"}),
    }
    for part in ("mean", "ci_low", "ci_high"):
        record[f"dice_gap_{part}"] = None if row.gap is None else getattr(row.gap, part)
    for group in GROUPS:
        record |= _group_record(row, group)
    return record


def _group_record(row: Row, name: str) -> dict[str, object]:
    group = row.groups.get(name)
    record: dict[str, object] = {f"{name}_cases": None if group is None else group.cases}
    for metric in METRICS:
        summary = row.summary(metric.key, name)
        for part in ("mean", "std", "ci_low", "ci_high"):
            value = None if summary is None else getattr(summary, part)
            record[f"{name}_{metric.key}_{part}"] = value
    return record


class Format(StrEnum):
    """How a board can be written."""

    MARKDOWN = "markdown"
    LATEX = "latex"
    CSV = "csv"


FORMATS: dict[Format, Callable[[Board], str]] = {
    Format.MARKDOWN: to_markdown,
    Format.LATEX: to_latex,
    Format.CSV: to_csv,
}
