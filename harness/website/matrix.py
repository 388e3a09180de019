"""Significance matrix: who is better than whom, a square of submissions for each metric."""

from __future__ import annotations

from typing import Any

import altair as alt

from harness.ranking import METRICS
from harness.website.charts import Chart, data, join
from harness.website.drawing import ACCENT, Look
from harness.website.shown import Shown

LEVELS = {"p < 0.001": 0.001, "p < 0.01": 0.01, "p < 0.05": 0.05, "not significant": 2.0}  # below
STRENGTH = (0.85, 0.55, 0.3, 0.06)  # of each level's colour
SIDE_BY_SIDE = 12  # submissions: larger squares are one below the other


def significance(shown: Shown, look: Look) -> Chart | None:
    """Which result is better than which; where many were tested, some of them, evenly spread."""
    statistics = shown.track.statistics
    if statistics is None or len(statistics.significance.entries) < 2:
        return None
    found = statistics.significance
    chosen = range(0, len(found.entries), -(-len(found.entries) // look.square))
    rows = {row.entry_digest: row for row in shown.track.ranked}
    tested = Shown(shown.track, tuple(rows[found.entries[n]] for n in chosen), shown.characters)
    names = list(zip(chosen, tested.labels, strict=True))
    panels: list[Any] = []
    for metric in METRICS:
        adjusted = found.adjusted[metric.key]
        records = [
            {"name": name, "other": other, "p": _level(adjusted[row][column])}
            for row, name in names
            for column, other in names
            if row != column
        ]
        panels.append(_square(records, metric.label, tested.labels, look=look))
    return join(panels, _stacked(len(chosen), look))


def _square(records: list[dict[str, Any]], title: str, names: list[str], *, look: Look) -> Any:
    stacked = _stacked(len(names), look)
    width = look.data_width if stacked else look.data_width // len(METRICS) - 20
    side = len(names) * min(24 if len(names) <= SIDE_BY_SIDE else 17, width // len(names))
    first = stacked or title == METRICS[0].label
    lines: dict[str, Any] = {"domain": False, "ticks": False, "labelPadding": 6}
    x, y = alt.X("other:N").sort(names).title(None), alt.Y("name:N").sort(names).title(None)
    opacity = alt.Opacity("p:N").scale(type="ordinal", domain=list(LEVELS), range=list(STRENGTH))
    return (
        alt.Chart(data(records), title=title, width=side, height=side)
        .mark_rect(color=ACCENT)
        .encode(
            x=x.axis(orient="top", labelAngle=-90, **lines),
            y=y.axis(labels=first, **lines),
            opacity=opacity.legend(title=None),
        )
    )


def _stacked(submissions: int, look: Look) -> bool:
    return look.narrow or submissions > SIDE_BY_SIDE


def _level(p: float) -> str:
    return next(level for level, limit in LEVELS.items() if p < limit)
