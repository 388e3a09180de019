"""Charts of a track's plots: functions from the results shown to a chart.

A chart that has nothing to show is None: those that need every case's results have something only
where the ledger has a ranking of the track.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import altair as alt

from harness.ranking import METRICS, Row
from harness.website.plots.drawing import ACCENT, INK, MUTED, SECOND, Look
from harness.website.plots.scales import Record, metric_axis
from harness.website.plots.shown import Shown

STEP = 24  # pixels a result
Chart = alt.TopLevelMixin


def ranking(shown: Shown, look: Look) -> Chart:
    """Mean and interval of each metric, the fold models below."""
    panels: list[Any] = []
    for metric in METRICS:
        records, folds = [], []
        for label, row in shown.each():
            found = row.groups["all"].metrics[metric.key]
            ends = {"low": found.ci_low, "high": found.ci_high}
            records.append({"name": label, "value": found.mean, **ends})
            folds += [
                {"name": label, "value": fold}
                for fold in found.folds[: 20 * (len(found.folds) > 1)]
            ]
        value, low = (
            metric_axis(metric, shown.track.units, [*records, *folds], *fields)
            for fields in (("value", "low", "high"), ("low", "value", "high"))
        )
        y = _names(shown, look, first=not panels)
        base = alt.Chart(data(records)).encode(y=y)
        layers = [
            base.mark_rule(color=ACCENT, strokeWidth=2).encode(x=low, x2="high:Q"),
            base.mark_point(color=ACCENT, filled=True, opacity=1, size=70).encode(x=value),
        ]
        if folds:
            dots = alt.Chart(data(folds)).mark_tick(
                color=MUTED, opacity=0.7, size=6, thickness=1, yOffset=8
            )
            layers.append(dots.encode(x=value, y=y))
        panels.append(_panel(layers, shown, look))
    return join(panels, look.narrow)


def rank_map(shown: Shown, look: Look) -> Chart | None:
    """How often each result had each rank."""
    statistics = shown.track.statistics
    if statistics is None:
        return None
    bins = statistics.rank_bins
    titles = [_bin_title(bins, place, len(shown.track.ranked)) for place in range(len(bins))]
    records = [
        {"name": label, "rank": title, "share": count / statistics.resamples}
        for label, row in shown.each()
        if row.ranked
        for title, count in zip(titles, row.ranked.rank_counts, strict=True)
    ]
    x = (
        alt.X("rank:N")
        .sort(titles)
        .title("Rank")
        .axis(orient="top", labelAngle=0, labelOverlap=True)
    )
    return _cells(records, shown, look, x=x, field="share", columns=len(bins))


def distributions(shown: Shown, look: Look) -> Chart | None:
    """The spread of each metric over the cases, and the share of failures."""
    panels: list[Any] = []
    for metric in METRICS:
        records = [
            {"name": label, **dict(zip("abcde", found.quantiles, strict=True))}
            for label, row in shown.each()
            if row.ranked and (found := row.ranked.metrics.get(metric.key))
        ]
        if not records:
            return None
        x = metric_axis(metric, shown.track.units, records, "a", "e")
        base = alt.Chart(data(records)).encode(y=_names(shown, look, first=not panels))
        layers = [
            base.mark_rule(color=MUTED).encode(x=x, x2="e:Q"),
            base.mark_bar(color=ACCENT, opacity=0.45, size=11).encode(x="b:Q", x2="d:Q"),
            base.mark_tick(color=INK, thickness=2, size=13).encode(x="c:Q"),
        ]
        panels.append(_panel(layers, shown, look, panels=len(METRICS) + 1))
    return join([*panels, *_failures(shown, look)], look.narrow)


class Failure(NamedTuple):
    """A kind of failure: where the share of what did not fail is, and how it is drawn."""

    metric: str
    group: str
    colour: str
    shape: str


FAILURES = {
    "lesions missed": Failure("lesion_sensitivity", "lesion", ACCENT, "circle"),
    "normal images marked": Failure("dice", "normal", SECOND, "diamond"),
}


def failures(row: Row) -> dict[str, float]:
    """The share of lesions that were missed, and of normal images that were not left empty.

    Of what the report says nothing of there is no share.
    """
    found = {name: row.summary(kind.metric, kind.group) for name, kind in FAILURES.items()}
    return {name: 1 - one.mean for name, one in found.items() if one is not None}


def _failures(shown: Shown, look: Look) -> list[Any]:
    records = [
        {"name": label, "kind": kind, "share": share}
        for label, row in shown.each()
        for kind, share in failures(row).items()
    ]
    if not records:
        return []
    kinds = [kind for kind in FAILURES if any(record["kind"] == kind for record in records)]
    colours, shapes = ([getattr(FAILURES[k], part) for k in kinds] for part in ("colour", "shape"))
    x = alt.X("share:Q").title("Failures ↓").axis(format="%", tickCount=4)
    dots = (
        alt.Chart(data(records))
        .mark_point(filled=True, opacity=1, size=60)
        .encode(
            x=x,
            y=_names(shown, look, first=False),
            color=alt.Color("kind:N").scale(domain=kinds, range=colours),
            shape=alt.Shape("kind:N").scale(domain=kinds, range=shapes),
        )
    )
    return [_panel([dots], shown, look, panels=len(METRICS) + 1)]


def by_part(shown: Shown, look: Look) -> Chart | None:
    """Dice on each class, each quarter of lesion size, each scanner."""
    parts = shown.parts
    if len(parts) < 2:  # nothing to compare
        return None
    records = [
        {"name": label, "part": title, "dice": found.mean}
        for label, row in shown.each()
        for title, part in parts.items()
        if (found := row.summary("dice", part))
    ]
    if not records:
        return None
    angle = -90 if look.narrow else -40
    axis = alt.Axis(orient="top", labelAngle=angle, labelLimit=0)
    x = alt.X("part:N").sort(list(parts)).title(None).axis(axis)
    return _cells(records, shown, look, x=x, field="dice", columns=len(parts))


# --- what they share -------------------------------------------------------------------------


def data(records: Sequence[Record]) -> alt.InlineData:
    """Records as a chart takes them."""
    return alt.InlineData(values=[dict(record) for record in records])


def _panel(layers: Sequence[Any], shown: Shown, look: Look, *, panels: int = len(METRICS)) -> Any:
    width = look.data_width if look.narrow else (look.data_width - 24 * panels) // panels
    return alt.layer(*layers).properties(width=width, height=STEP * len(shown.rows))


def _names(shown: Shown, look: Look, first: bool) -> alt.Y:
    """The axis of results; beside other panels only the first one is labelled."""
    labels = look.narrow or first
    axis = alt.Axis(labels=labels, ticks=False, domain=False, grid=True, labelPadding=8)
    return alt.Y("name:N").sort(shown.labels).title(None).axis(axis)


def join(panels: Sequence[Any], stacked: bool) -> Chart:
    """Panels one below the other, or side by side."""
    layout: Callable[..., Chart] = alt.vconcat if stacked else alt.hconcat
    return layout(*panels)


def _cells(
    records: list[dict[str, Any]], shown: Shown, look: Look, *, x: alt.X, field: str, columns: int
) -> Chart:
    """A heat map; the cells' numbers are written where they fit."""
    width = min(look.data_width, columns * 72)
    y = (
        alt.Y("name:N")
        .sort(shown.labels)
        .title(None)
        .axis(domain=False, ticks=False, labelPadding=8)
    )
    base = alt.Chart(data(records)).encode(x=x, y=y)
    values = [record[field] for record in records]
    domain = [0.0, 1.0] if field == "share" else [min(values), max(*values, min(values) + 0.01)]
    shade = alt.Opacity(f"{field}:Q").scale(domain=domain, range=[0.03, 0.5]).legend(None)
    layers = [base.mark_rect(color=ACCENT).encode(opacity=shade)]
    if width >= columns * 30:
        text = alt.Chart(data([r for r in records if r[field] >= 0.005 or field != "share"]))
        layers.append(
            text.mark_text(color=INK).encode(x=x, y=y, text=alt.Text(f"{field}:Q").format(".2f"))
        )
    return alt.layer(*layers).properties(width=width, height=STEP * len(shown.rows))


def _bin_title(bins: Sequence[int], place: int, last: int) -> str:
    high = bins[place + 1] - 1 if place + 1 < len(bins) else last
    return str(bins[place]) if high <= bins[place] else f"{bins[place]}–{high}"
