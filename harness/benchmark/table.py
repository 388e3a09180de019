"""Table of a finished benchmark, beside the published one.

The table is in the published format: Dice, IoU and HD95 as mean ± standard deviation (ddof 1) over
the fold models, each scored on the whole test set; GMACs (multiply-accumulates / 1e9), and
parameters, both counted from the ONNX graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from evaluator.documents.base import Contract, Name
from evaluator.documents.input_spec import InputSpec
from harness.ledger.report import Report
from harness.ranking import METRICS
from harness.ranking.metrics import AWESOME_BUS_NOTE, MISSING, NOT_COUNTED
from harness.ranking.names import markdown
from harness.ranking.published import PublishedNetwork, PublishedTable, published_table

DIGITS = {"dice": 4, "iou": 4, "hd95": 2}  # as published


class Line(Contract):
    """One network's result on one track."""

    recipe: Name
    network: str
    input: InputSpec
    report: Report


class TrackTable(Contract):
    """All results on one track; `missing` are networks whose jobs failed."""

    track: Name
    lines: tuple[Line, ...]
    missing: tuple[Name, ...] = Field(default=())

    @property
    def dataset(self) -> Name | None:
        """The track's dataset; None without a result."""
        return self.lines[0].report.dataset if self.lines else None


def to_markdown(tables: Sequence[TrackTable]) -> str:
    """One pipe table a track, with what its numbers are below it."""
    return "\n".join(_track(table, published_table()) for table in tables)


def _track(table: TrackTable, published: PublishedTable) -> str:
    units = table.lines[0].report.scores.units if table.lines else {}
    heads = [
        *("Network", "Input", *(metric.title(units) for metric in METRICS)),
        *(metric.awesome_bus_title for metric in METRICS),
        *("GMACs", "Params [M]", "GFLOPs as published", "Params as published [M]"),
    ]
    rows = [_line(line, published) for line in table.lines]
    rows += [[markdown(name), *["failed"] * 7, *[MISSING] * 4] for name in table.missing]
    rows += _published(table.dataset, published)
    rule = ["---", *["--:"] * (len(heads) - 1)]
    pipes = ["| " + " | ".join(cells) + " |" for cells in (heads, rule, *rows)]
    return "\n".join([f"### {_caption(table)}", "", *pipes, "", *_notes(table, published), ""])


def _caption(table: TrackTable) -> str:
    if not table.lines:
        return table.track
    report = table.lines[0].report
    cases = report.scores.groups["all"].cases
    return f"{report.track}, split {report.split_version}, {cases} test cases"


def _line(line: Line, published: PublishedTable) -> list[str]:
    group = line.report.scores.groups["all"]
    theirs = published.networks.get(line.network)
    gmacs = [model.gmacs for model in line.report.models]
    counted = None if None in gmacs else max(value for value in gmacs if value is not None)
    parameters = max(model.parameters for model in line.report.models) / 1e6
    name = theirs.title if theirs and line.recipe == line.network else line.recipe
    mark = "" if line.report.status == "complete" else " (incomplete)"
    return [
        markdown(name) + mark,
        " × ".join(map(str, line.input.size)),
        *(
            _score(metrics.get(metric.key), DIGITS[metric.key])
            for metrics in (group.metrics, line.report.scores.awesome_bus_2025.metrics)
            for metric in METRICS
        ),
        NOT_COUNTED if counted is None else f"{counted:.2f}",
        f"{parameters:.2f}",
        *([MISSING] * 2 if theirs is None else _counts(theirs)),
    ]


def _counts(network: PublishedNetwork) -> list[str]:
    mark = " \\*" if network.flaw else ""
    return [f"{network.gflops:.2f}{mark}", f"{network.parameters:.2f}{mark}"]


def _score(summary: Any, digits: int) -> str:
    if summary is None:
        return MISSING
    spread = "" if summary.std is None else f" ± {summary.std:.{digits}f}"
    return f"{summary.mean:.{digits}f}{spread}"


def _published(dataset: str | None, published: PublishedTable) -> list[list[str]]:
    best = published.tracks.get(dataset or "")
    if best is None:
        return []
    values = {m.key: getattr(best, m.key) for m in METRICS}
    scores = [f"{value:.{DIGITS[key]}f} ({network})" for key, (value, network) in values.items()]
    return [["*best published*", "224 × 224", *[MISSING] * 3, *scores, *[MISSING] * 4]]


def _notes(table: TrackTable, published: PublishedTable) -> list[str]:
    notes = [
        "Mean ± standard deviation over the fold models, each on the whole test set. GMACs are "
        "multiply-accumulates / 1e9; they and the parameters are counted from the ONNX files. "
        f"{AWESOME_BUS_NOTE}"
    ]
    if table.dataset in published.tracks:
        notes.append(
            "The best published scores are of any network there, and were measured on a split by "
            "image that leaks: patients of its test images are in training, too."
        )
    used = {line.network: published.networks.get(line.network) for line in table.lines}
    notes += [f"\\* {seen.title}: {seen.flaw}." for seen in used.values() if seen and seen.flaw]
    return notes
