"""Charts of a track's plots: functions from the results shown to a chart.

A chart that has nothing to show is None: those that need every case's results have something only
where the ledger has a ranking of the track.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import altair as alt

from harness.ranking import METRICS
from harness.website.drawing import ACCENT, INK, MUTED, SECOND, Look
from harness.website.shown import Shown

STEP = 24  # pixels a result
Record = dict[str, Any]
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
        title = metric.title(shown.track.units)
        domain = _range([*records, *folds], "low", "value", "high")
        x = _quantity("value", title, domain)
        y = _names(shown, look, first=not panels)
        base = alt.Chart(data(records)).encode(y=y)
        layers = [
            base.mark_rule(color=ACCENT, strokeWidth=2).encode(
                x=_quantity("low", title, domain), x2="high:Q"
            ),
            base.mark_point(color=ACCENT, filled=True, opacity=1, size=70).encode(x=x),
        ]
        if folds:
            dots = alt.Chart(data(folds)).mark_tick(
                color=MUTED, opacity=0.7, size=6, thickness=1, yOffset=8
            )
            layers.append(dots.encode(x=x, y=y))
        width = look.data_width if look.narrow else (look.data_width - 60) // len(METRICS)
        panels.append(alt.layer(*layers).properties(width=width, height=_height(shown)))
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
    """The spread of each metric over the cases."""
    panels: list[Any] = []
    for metric in METRICS:
        records = [
            {"name": label, **dict(zip("abcde", found.quantiles, strict=True))}
            for label, row in shown.each()
            if row.ranked and (found := row.ranked.metrics.get(metric.key))
        ]
        if not records:
            return None
        x = _quantity("a", metric.title(shown.track.units), _range(records, "a", "e"))
        base = alt.Chart(data(records)).encode(y=_names(shown, look, first=not panels))
        layers = [
            base.mark_rule(color=MUTED).encode(x=x, x2="e:Q"),
            base.mark_bar(color=ACCENT, opacity=0.45, size=11).encode(x="b:Q", x2="d:Q"),
            base.mark_tick(color=INK, thickness=2, size=13).encode(x="c:Q"),
        ]
        width = look.data_width if look.narrow else (look.data_width - 60) // len(METRICS)
        panels.append(alt.layer(*layers).properties(width=width, height=_height(shown)))
    return join(panels, look.narrow)


def by_part(shown: Shown, look: Look) -> Chart | None:
    """Dice on each class, each quarter of lesion size, each scanner."""
    parts = shown.parts
    records = [
        {"name": label, "part": title, "dice": found.mean}
        for label, row in shown.each()
        for title, part in parts.items()
        if (found := row.summary("dice", part))
    ]
    if not records:
        return None
    x = alt.X("part:N").sort(list(parts)).title(None).axis(orient="top", labelAngle=-40)
    return _cells(records, shown, look, x=x, field="dice", columns=len(parts))


def cost(shown: Shown, look: Look) -> Chart | None:
    """Dice against the work for one image."""
    few = len(shown.rows) <= (8 if look.narrow else 14)
    records = [
        {
            "name": label if few else str(row.rank),
            "gmacs": row.gmacs,
            "dice": row.groups["all"].metrics["dice"].mean,
            "origin": "trained here" if row.trained_here else "supplied",
        }
        for label, row in shown.each()
        if row.gmacs
    ]
    if not records:
        return None
    origins = ["trained here", "supplied"]
    work = [row.gmacs for row in shown.rows if row.gmacs]
    ticks = [digit * 10.0**power for power in range(-4, 6) for digit in (1, 2, 5)]
    base = alt.Chart(data(records)).encode(
        x=alt.X("gmacs:Q")
        .scale(type="log", nice=False, padding=60, domain=[min(work) / 2, max(work) * 2])
        .title("GMACs an image")
        .axis(format="~g", values=ticks, labelOverlap="greedy", labelSeparation=10),
        y=alt.Y("dice:Q")
        .scale(zero=False, nice=True, domain=_range(records, "dice"))
        .title("Dice ↑")
        .axis(tickCount=6),
    )
    dots = base.mark_point(filled=True, opacity=1, size=80).encode(
        color=alt.Color("origin:N").scale(domain=origins, range=[ACCENT, SECOND]),
        shape=alt.Shape("origin:N").scale(domain=origins, range=["circle", "diamond"]),
    )
    names = base.mark_text(align="left", dx=8).encode(text="name:N")
    width, height = (look.width - 60, 300) if look.narrow else (look.width - 180, 380)
    return alt.layer(dots, names).properties(width=width, height=height)


# --- what they share -------------------------------------------------------------------------


def data(records: Sequence[Record]) -> alt.InlineData:
    """Records as a chart takes them."""
    return alt.InlineData(values=list(records))


def _quantity(field: str, title: str, domain: list[float]) -> alt.X:
    scale = alt.Scale(zero=False, nice=True, domain=domain)
    return alt.X(f"{field}:Q").title(title).scale(scale).axis(tickCount=5)


def _range(records: Sequence[Record], *fields: str) -> list[float]:
    """From the smallest to the largest value, with some air: a lone value has an axis, too."""
    found = [record.get(field) for record in records for field in fields]
    values = [value for value in found if value is not None]
    air = 0.02 * (max(values) - min(values)) or 0.02 * max(1.0, abs(max(values)))
    return [min(values) - air, max(values) + air]


def _height(shown: Shown) -> int:
    return STEP * len(shown.rows)


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
    records: list[Record], shown: Shown, look: Look, *, x: alt.X, field: str, columns: int
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
    layers = [base.mark_rect(color=ACCENT, cornerRadius=2).encode(opacity=shade)]
    if width >= columns * 30:
        text = alt.Chart(data([r for r in records if r[field] >= 0.005 or field != "share"]))
        layers.append(
            text.mark_text(color=INK).encode(x=x, y=y, text=alt.Text(f"{field}:Q").format(".2f"))
        )
    return alt.layer(*layers).properties(width=width, height=_height(shown))


def _bin_title(bins: Sequence[int], place: int, last: int) -> str:
    high = bins[place + 1] - 1 if place + 1 < len(bins) else last
    return str(bins[place]) if high <= bins[place] else f"{bins[place]}–{high}"
