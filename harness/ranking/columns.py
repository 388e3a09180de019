"""The columns of a track's table: those shown by default, and those that a viewer chooses."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from string import ascii_lowercase

import numpy as np

from evaluator.documents.scores import MetricSummary
from harness.ranking import names
from harness.ranking.board import Row, Track
from harness.ranking.marks import Mark, own_marks
from harness.ranking.metrics import (
    BY_KEY,
    COSTS,
    GAP,
    METRICS,
    MISSING,
    NOT_COUNTED,
    Cost,
    RankedMetric,
)
from harness.ranking.orders import smallest_ranks

# Metrics that are shown for a part of the images alone, where a track has images of both parts.
PARTS = {"lesion": ("dice", "hd95"), "normal": ("dice",)}
NAMES = ("Method", "Team", "Trained on")  # the only columns of words


@dataclass(frozen=True)
class Style:
    """How one format marks a cell's text."""

    name: Callable[[str], names.Markup]  # what a participant wrote, as literal text
    best: str = "{}"
    second: str = "{}"
    raised: str = "{}"  # the letters of footnotes


@dataclass(frozen=True)
class Column:
    """One column of a track's table."""

    head: str
    text: Callable[[Row, Style], str]
    metric: RankedMetric | None = None  # whose best values are marked
    group: str = ""  # the cases it is over, where it is about some
    summary: Callable[[Row], MetricSummary | None] | None = None  # null: the group's

    def cells(self, track: Track, style: Style) -> list[str]:
        """The text of every row, the best and the second best of those ranked marked."""
        marks = self._marks(track, style)
        return [
            marks.get(row.entry, "{}").replace("{}", self.text(row, style)) for row in track.rows
        ]

    def _marks(self, track: Track, style: Style) -> dict[int, str]:
        if self.metric is None:
            return {}
        key, group = self.metric.key, self.group
        of = self.summary or (lambda row: row.summary(key, group))
        found = {row.entry: of(row) for row in track.ranked}
        means = {entry: summary.mean for entry, summary in found.items() if summary is not None}
        sign = -1 if self.metric.higher_is_better else 1
        ranks = smallest_ranks(sign * np.array(list(means.values()), float))
        marks = {1: style.best, 2: style.second}
        return {entry: marks.get(int(rank), "{}") for entry, rank in zip(means, ranks, strict=True)}


def columns(track: Track, chosen: Sequence[str] = ()) -> list[Column]:
    """The columns of a track's table: of sets of ranks and groups only where it has a ranking.

    Args:
        chosen: those beside rank, method and team, as `chosen_column` takes them; none: the default
            ones.
    """
    notes = own_marks(track)
    named = [
        RANK,
        *([RANK_SET, GROUP] if track.statistics else []),
        Column("Method", lambda row, style: style.name(row.method) + _letters(notes, row, style)),
        Column("Team", lambda row, style: style.name(row.team)),
    ]
    if chosen:
        return [*named, *(chosen_column(track, name) for name in chosen)]
    parts = {name for row in track.rows for name in row.groups}
    compared = any(row.ranked and row.ranked.gap_excess for row in track.rows)
    apart = [
        _metric_column(track, metric, part)
        for part, keys in PARTS.items()
        for metric in METRICS
        if metric.key in keys and parts >= PARTS.keys()
    ]
    return [
        *named,
        *(
            make(track, one, "all")
            for one in METRICS
            for make in (_metric_column, _interval_column)
        ),
        *apart,
        GAP_MEAN,
        GAP_INTERVAL,
        *([GAP_EXCESS] if compared else []),
        *MODEL.values(),
        *map(_cost_column, track.costs),
        *map(_awesome_bus_column, METRICS),
    ]


def _letters(notes: Sequence[Mark], row: Row, style: Style) -> str:
    letters = [letter for letter, mark in lettered(notes) if mark.applies(row)]
    return style.raised.replace("{}", ",".join(letters)) if letters else ""


def lettered(notes: Sequence[Mark]) -> list[tuple[str, Mark]]:
    """The marks of some rows, each with the letter of its footnote."""
    return list(zip(ascii_lowercase, notes, strict=False))


def plain_group(group: str) -> str:
    """A group's name as it is in heads of every format, which a scanner's name may not bend."""
    return re.sub(r"[^A-Za-z0-9 .+-]", " ", f"{group[:1].upper()}{group[1:]}")


def _metric_column(track: Track, metric: RankedMetric, group: str) -> Column:
    title = metric.title(track.units)
    head = title if group == "all" else f"{plain_group(group)} images: {title}"
    return Column(
        head,
        lambda row, _: metric.mean_and_std(row.summary(metric.key, group)),
        metric,
        group,
    )


def _cost_column(cost: Cost) -> Column:
    return Column(cost.title, lambda row, _: cost.number(row.runtime.measured))


def _awesome_bus_column(metric: RankedMetric) -> Column:
    return Column(
        metric.awesome_bus_title,
        lambda row, _: metric.mean_and_std(row.awesome_bus_2025.metrics.get(metric.key)),
    )


def _interval_column(_: Track, metric: RankedMetric, group: str) -> Column:
    of = metric.label if group == "all" else f"{metric.label}, {plain_group(group)} images"
    return Column(
        f"95 % of {of}", lambda row, _: metric.interval(row.summary(metric.key, group)), group=group
    )


MEAN_AND_INTERVAL = (_metric_column, _interval_column)


def _counted(number: float | None, unit: float = 1) -> str:
    return NOT_COUNTED if number is None else f"{number / unit:.2f}"


def _excess(row: Row) -> str:
    """The gap less the reference's on the same windows, with its interval."""
    found = row.ranked.gap_excess if row.ranked else None
    if found is None:
        return MISSING
    ends = found.interval
    return GAP.number(found.mean) + (
        f" ({GAP.number(ends.low)} to {GAP.number(ends.high)})" if ends else ""
    )


def _latency(row: Row) -> str:
    milliseconds = row.runtime.measured.latency_ms
    return MISSING if milliseconds is None else f"{milliseconds:.1f}"


RANK = Column("Rank", lambda row, _: MISSING if row.rank is None else str(row.rank))
RANK_SET = Column("Ranks", lambda row, _: row.ranked.rank_set if row.ranked else MISSING)
GROUP = Column("Group", lambda row, _: row.ranked.group if row.ranked else MISSING)
GAP_MEAN = Column(GAP.label, lambda row, _: GAP.number(row.gap.mean if row.gap else None))
GAP_INTERVAL = Column(f"95 % of {GAP.label}", lambda row, _: GAP.interval(row.gap))
GAP_EXCESS = Column(f"{GAP.label} over the reference's", lambda row, _: _excess(row))
MODEL = {
    "parameters": Column("Parameters [M]", lambda row, _: _counted(row.parameters, 1e6)),
    "gmacs": Column("GMACs", lambda row, _: _counted(row.gmacs)),
    "latency": Column(
        "Latency [ms]",
        lambda row, _: f"{_latency(row)} ({row.runtime.computed_on})",
    ),
}
NAMED = {
    "gap": GAP_MEAN,
    "gap-interval": GAP_INTERVAL,
    "gap-excess": GAP_EXCESS,
    **MODEL,
    **{cost.key: _cost_column(cost) for cost in COSTS},
}
CHOICES = (
    f"METRIC ({', '.join(BY_KEY)}), METRIC@GROUP (as dice@malignant), interval:METRIC[@GROUP], "
    f"ensemble:METRIC, worst:METRIC ({', '.join(metric.key for metric in METRICS)}), "
    f"{', '.join(NAMED)}"
)


def chosen_column(track: Track, name: str) -> Column:
    """The column that `--columns` names.

    Raises:
        ValueError: where there is none of this name, or the track has no such group, in half a
            sentence.
    """
    if name in NAMED:
        return NAMED[name]
    rest, _, group = name.partition("@")  # a scanner's name may contain both signs
    kind, _, key = rest.rpartition(":")
    metric, made = BY_KEY.get(key), _KINDS.get(kind)
    if metric is None or made is None or (group and kind not in ("", "interval")):
        raise ValueError(f"there is no column {name!r}")
    if kind == "worst" and metric not in METRICS:
        raise ValueError(f"the worst subgroup is found by ranked metrics, and {key} is none")
    if group and not any(group in row.groups for row in track.rows):
        raise ValueError(f"no submission on {track.track} has a group {group!r}")
    return made(track, metric, group or "all")


def _ensemble_column(track: Track, metric: RankedMetric, group: str) -> Column:
    def summary(row: Row) -> MetricSummary | None:
        return None if row.ensemble is None else row.ensemble.metrics.get(metric.key)

    return Column(
        f"Ensemble: {metric.title(track.units)}",
        lambda row, _: metric.mean_and_std(summary(row)),
        metric,
        group,
        summary,
    )


def _worst_column(track: Track, metric: RankedMetric, _: str) -> Column:
    def text(row: Row, style: Style) -> str:
        found = row.worst.get(metric.key)
        if found is None:
            return MISSING
        return f"{metric.number(found.mean)} ({style.name(found.group)}, {found.patients} patients)"

    return Column(f"Worst subgroup: {metric.title(track.units)}", text)


_KINDS: dict[str, Callable[[Track, RankedMetric, str], Column]] = {
    "": _metric_column,
    "interval": _interval_column,
    "ensemble": _ensemble_column,
    "worst": _worst_column,
}
