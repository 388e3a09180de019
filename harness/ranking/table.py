"""The board as a flat table: one row a report, for CSV, JSON, Markdown and LaTeX."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd

from evaluator.contract import MetricSummary
from evaluator.metrics import METRICS
from harness.ranking.board import RANKED, Board, Row, Track

Format = Literal["markdown", "latex", "csv"]
_LATEX = str.maketrans(
    {
        **{c: f"\\{c}" for c in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
    }
)


def flat_row(track: Track, row: Row) -> dict[str, Any]:
    """Everything the board says of one report, by column."""
    report = row.report
    cells: dict[str, Any] = {
        "track": track.name,
        "split_version": track.split_version,
        "metric_profile": track.metric_profile,
        "rank": row.rank,
        "mean_rank": row.mean_rank,
        "team": report.team,
        "method": report.method,
        "status": report.status,
    }
    for group, scores in report.scores.groups.items():
        cells[f"{group}_cases"] = scores.cases
        for name in METRICS:
            summary = scores.metrics[name]
            cells[f"{group}_{name}"] = summary.mean
            cells[f"{group}_{name}_std"] = summary.std
            cells[f"{group}_{name}_ci_low"] = summary.ci_low
            cells[f"{group}_{name}_ci_high"] = summary.ci_high
    gmacs = [model.gmacs for model in report.models]
    cells |= {
        "hd95_unit": track.units["hd95"],
        "models": len(report.models),
        "parameters": max(model.parameters for model in report.models),
        "gmacs": None if None in gmacs else max(g for g in gmacs if g is not None),
        "latency_ms": report.runtime.latency_ms,
        "device": report.runtime.device,
        "backend": f"{report.runtime.backend} {report.runtime.backend_version}",
        "trained_here": report.provenance.trained_here is not None,
        "runner": report.provenance.runner,
        "labels": report.labels,
        "ledger_entry": row.entry,
    }
    return cells


def flat_rows(board: Board) -> list[dict[str, Any]]:
    """All rows of all tracks."""
    return [flat_row(track, row) for track in board.tracks for row in track.rows]


def spread(summary: MetricSummary, digits: int = 4) -> str:
    """`mean ± std` over the fold models, or the mean alone of a single model."""
    if summary.std is None:
        return f"{summary.mean:.{digits}f}"
    return f"{summary.mean:.{digits}f} ± {summary.std:.{digits}f}"


def as_csv(board: Board) -> str:
    """The flat table, full precision."""
    return pd.DataFrame(flat_rows(board)).to_csv(index=False, lineterminator="\n")


def paper_table(board: Board, form: Format) -> str:
    """The table for a paper: place, method, metrics, size.

    Args:
        form: `csv` gives every column at full precision.
    """
    if form == "csv":
        return as_csv(board)
    head = ["Track", "#", "Method", "Team", *(_title(name) for name in RANKED), "Params", "GMACs"]
    lines = [_cells(track, row) for track in board.tracks for row in track.rows]
    return _markdown(head, lines) if form == "markdown" else _latex(head, lines)


def _title(name: str) -> str:
    return METRICS[name].title


def _cells(track: Track, row: Row) -> list[str]:
    flat, metrics = flat_row(track, row), row.report.scores.groups["all"].metrics
    return [
        track.name,
        "–" if row.rank is None else str(row.rank),
        row.report.method,
        row.report.team,
        *(f"{spread(metrics[name])} {track.units[name]}".strip() for name in RANKED),
        f"{flat['parameters'] / 1e6:.2f} M",
        "–" if flat["gmacs"] is None else f"{flat['gmacs']:.2f}",
    ]


def _markdown(head: list[str], lines: list[list[str]]) -> str:
    rule = ["---" if n in (0, 2, 3) else "---:" for n in range(len(head))]
    escaped = [[cell.replace("|", "\\|") for cell in line] for line in lines]
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, rule, *escaped])


def _latex(head: list[str], lines: list[list[str]]) -> str:
    body = [" & ".join(cell.translate(_LATEX) for cell in line) for line in [head, *lines]]
    body = [line.replace("±", r"$\pm$").replace("–", "--") for line in body]
    rows = "".join(f"{line} \\\\\n" for line in body[1:])
    columns = "lrll" + "r" * (len(head) - 4)
    return (
        f"\\begin{{tabular}}{{{columns}}}\n\\toprule\n{body[0]} \\\\\n"
        f"\\midrule\n{rows}\\bottomrule\n\\end{{tabular}}\n"
    )
