"""Significance matrix: who is better than whom, a square of submissions for each metric."""

from __future__ import annotations

from typing import Any

import altair as alt

from harness.ranking import METRICS
from harness.website.plots.charts import Chart, data, join
from harness.website.plots.drawing import ACCENT, Look
from harness.website.plots.shown import Shown

LEVELS = {"p < 0.001": 0.001, "p < 0.01": 0.01, "p < 0.05": 0.05, "not significant": 2.0}  # below
STRENGTH = (0.85, 0.55, 0.3, 0.06)  # of each level's colour
CELL = (15, 24)  # pixels of a side, at least for a name to be read, and at most


def significance(shown: Shown, look: Look) -> Chart | None:
    """Which result is better than which, on each metric that ranks.

    Where more were tested than there is space for, some of them, evenly spread.
    """
    statistics = shown.track.statistics
    if statistics is None or len(statistics.significance.entries) < 2:
        return None
    found = statistics.significance
    metrics = [metric for metric in METRICS if metric.key in statistics.metrics]
    width = look.data_width if look.narrow else look.data_width // len(metrics) - 20
    chosen = range(0, len(found.entries), -(-len(found.entries) // (width // CELL[0])))
    rows = {row.entry_digest: row for row in shown.track.ranked}
    tested = Shown(shown.track, tuple(rows[found.entries[n]] for n in chosen), shown.characters)
    names = list(zip(chosen, tested.labels, strict=True))
    panels: list[Any] = []
    for metric in metrics:
        adjusted = found.adjusted[metric.key]
        records = [
            {"name": name, "other": other, "p": _level(adjusted[row][column])}
            for row, name in names
            for column, other in names
            if row != column
        ]
        square = _square(records, metric.label, tested.labels, named=look.narrow or not panels)
        side = len(names) * min(CELL[1], width // len(names))
        panels.append(square.properties(width=side, height=side))
    return join(panels, look.narrow)


def _square(records: list[dict[str, Any]], title: str, names: list[str], *, named: bool) -> Any:
    lines: dict[str, Any] = {"domain": False, "ticks": False, "labelPadding": 6}
    x, y = alt.X("other:N").sort(names).title(None), alt.Y("name:N").sort(names).title(None)
    opacity = alt.Opacity("p:N").scale(type="ordinal", domain=list(LEVELS), range=list(STRENGTH))
    return (
        alt.Chart(data(records), title=title)
        .mark_rect(color=ACCENT)
        .encode(
            x=x.axis(orient="top", labelAngle=-90, **lines),
            y=y.axis(labels=named, **lines),
            opacity=opacity.legend(title=None),
        )
    )


def _level(p: float) -> str:
    return next(level for level, limit in LEVELS.items() if p < limit)
