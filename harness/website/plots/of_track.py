"""Plots of a track: what each shows, also in words and as a table for those who cannot see it.

Each plot is a row of `KINDS`: its words, the function that draws it, and the same as a table where
the ranking table lacks its numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from harness.ranking import METRICS, RankedMetric, Row, Track
from harness.ranking.metrics import MISSING
from harness.website.plots import charts, findings, frontier
from harness.website.plots.drawing import NARROW, WIDE, Drawing, Look, draw
from harness.website.plots.matrix import significance
from harness.website.plots.shown import MOST, Shown
from harness.website.rendering import gmacs

Table = list[list[str]]


@dataclass(frozen=True)
class Kind:
    """One kind of plot: a question, and what answers it."""

    name: str
    title: str
    caption: str  # how to read it
    build: Callable[[Shown, Look], charts.Chart | None]  # None where there is nothing to show
    finding: Callable[[Shown], str]
    table: Callable[[Shown], Table] | None = None  # None where the ranking table has the numbers
    least: int = 1  # results: with fewer, the ranking table compares them better
    first: bool = True  # whether it shows the first of many, else some or all of them
    note: Callable[[Shown], str] | None = None  # what else there is to say


@dataclass(frozen=True)
class Plot:
    """One plot of one track, drawn for both pages."""

    kind: Kind
    wide: Drawing
    narrow: Drawing
    finding: str  # in a sentence or two
    size: str  # of the test set, in a sentence
    table: Table | None
    cut: str  # what is left out, in a sentence
    note: str


def plots(track: Track) -> Iterator[Plot]:
    """The track's plots, in the order in which they are shown."""
    for kind in (kind for kind in KINDS if len(track.ranked) >= kind.least):
        rows = track.ranked[:MOST] if kind.first else track.ranked
        wide, narrow = (Shown(track, rows, look.characters) for look in (WIDE, NARROW))
        large, small = kind.build(wide, WIDE), kind.build(narrow, NARROW)
        if large and small:
            yield Plot(
                kind,
                draw(large, WIDE),
                draw(small, NARROW),
                finding=kind.finding(wide),
                size=wide.size,
                table=kind.table(wide) if kind.table else None,
                cut=wide.cut,
                note=kind.note(wide) if kind.note else "",
            )


def _metric_table(
    shown: Shown, heads: list[str], cells: Callable[[Row, RankedMetric], list[str]]
) -> Table:
    titles = [f"{metric.label}, {head}" for metric in METRICS for head in heads]
    body = [
        [label, *(c for metric in METRICS for c in cells(row, metric))]
        for label, row in shown.each()
    ]
    return [["Method", *titles], *body]


def _quantile_table(shown: Shown) -> Table:
    def cells(row: Row, metric: RankedMetric) -> list[str]:
        found = row.ranked.metrics.get(metric.key) if row.ranked else None
        return [metric.number(value) for value in found.quantiles] if found else [MISSING] * 5

    heads, *body = _metric_table(shown, ["5 %", "25 %", "median", "75 %", "95 %"], cells)
    for line, row in zip(body, shown.rows, strict=True):
        shares = charts.failures(row)
        line += [f"{shares[kind]:.1%}" if kind in shares else MISSING for kind in charts.FAILURES]
    return [[*heads, *map(str.capitalize, charts.FAILURES)], *body]


def _wins_table(shown: Shown) -> Table:
    first = Shown(shown.track, shown.rows[:MOST], shown.characters)

    def cells(row: Row, metric: RankedMetric) -> list[str]:
        found = row.ranked.metrics.get(metric.key) if row.ranked else None
        return [f"{found.wins} of {found.tests}"] if found else [MISSING]

    return _metric_table(first, ["better than"], cells)


def _rank_table(shown: Shown) -> Table:
    body = [
        [
            label,
            str(row.rank),
            s.rank_set,
            f"{s.mean_rank:.2f}",
            str(s.resamples_first),
            *(str(s.rank_aggregate), str(s.rank_test)),
        ]
        for label, row in shown.each()
        if (s := row.ranked)
    ]
    heads = ["Rank", "95 % set", "Mean rank", "Resamples at rank 1", "By means", "By tests"]
    return [["Method", *heads], *body]


def _part_table(shown: Shown) -> Table:
    parts, dice = shown.parts, METRICS[0]
    body = []
    for label, row in shown.each():
        found = [row.summary("dice", part) for part in parts.values()]
        body.append([label, *(MISSING if one is None else dice.number(one.mean) for one in found)])
    return [["Method", *parts], *body]


def _cost_table(shown: Shown) -> Table:
    found = frontier.points(shown)
    line = frontier.frontier(found)
    body = [
        [
            point.name,
            gmacs(point.gmacs),
            METRICS[0].number(point.dice),
            frontier.ORIGINS[point.trained_here],
            "yes" if point in line else "no",
        ]
        for place, point in enumerate(found)
        if place < MOST or point in line
    ]
    return [["Method", "GMACs", METRICS[0].label, "Origin", "On the line"], *body]


COMPARED = 3  # results from which on a comparison shows more than the table
KINDS = (
    Kind(
        "ranking",
        "How good is each method, and how sure is that?",
        "Dot: mean over all test images. Line: 95\u00a0% interval over patients. Small ticks: "
        "the fold models.",
        charts.ranking,
        findings.extent,
        least=COMPARED,
    ),
    Kind(
        "significance",
        "Which differences are real?",
        "Row better than column: one-sided Wilcoxon signed-rank tests on the patients, adjusted by "
        "Holm's method. The stronger the colour, the smaller p. Of many, some are shown.",
        significance,
        findings.differences,
        _wins_table,
        least=COMPARED,
        first=False,
        note=findings.too_few,
    ),
    Kind(
        "ranks",
        "How stable is the order?",
        "How often each result had each rank when the patients were drawn anew, with replacement: "
        "the stronger the colour, the more often. It shows what moves; which ranks the patients do "
        "not exclude is in the details of the ranking table.",
        charts.rank_map,
        findings.firsts,
        _rank_table,
        least=COMPARED,
        note=findings.agreement,
    ),
    Kind(
        "distributions",
        "How different are single images?",
        "Over the test images: line from the 5th to the 95th percentile, box from the 25th to the "
        "75th, mark at the median; distances on a logarithmic scale. Failures: a lesion is missed "
        "where no area of the mask overlaps it by more than half (IoU), a normal image is marked "
        "where its mask is not empty.",
        charts.distributions,
        findings.variation,
        _quantile_table,
    ),
    Kind(
        "parts",
        "On which images are methods weak?",
        "Dice on parts of the test set, in brackets how many images: the stronger the colour, the "
        "higher. Q1 to Q4 are the quarters of lesion size, smallest first.",
        charts.by_part,
        findings.weakest,
        _part_table,
    ),
    Kind(
        "cost",
        "What does accuracy cost?",
        "Dice against GMACs, the multiply-accumulates for one image, counted in the ONNX graph, on "
        "a logarithmic scale. Dashed: the Pareto line, of the results that no other equals for "
        "less work. Names without space are left out.",
        frontier.cost,
        findings.bargains,
        _cost_table,
        least=COMPARED,
        first=False,
    ),
)
