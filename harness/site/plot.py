"""Where do the dots and intervals of a plot go? Pure geometry; the template draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evaluator.contract import MetricSummary

LEFT, RIGHT, ROW_HEIGHT, TOP, BOTTOM = 16.0, 484.0, 26.0, 8.0, 34.0
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1, 2, 5, 10, 20, 25, 50, 100, 200, 500)
_MAX_TICKS = 6


@dataclass(frozen=True)
class Mark:
    """One report's mean and 95 % interval."""

    label: str
    y: float
    x: float
    low: float
    high: float
    text: str


@dataclass(frozen=True)
class Plot:
    """A dot-and-interval plot, in the user units of its SVG."""

    title: str
    width: float
    height: float
    base: float  # y of the axis
    marks: tuple[Mark, ...]
    ticks: tuple[tuple[float, str], ...]  # x and label


def dot_plot(title: str, entries: Sequence[tuple[str, MetricSummary]]) -> Plot:
    """Lay out one metric of several reports, best first as given."""
    bounds = [
        (s.mean if s.ci_low is None else s.ci_low, s.mean if s.ci_high is None else s.ci_high)
        for _, s in entries
    ]
    step, first, last = _axis(min(low for low, _ in bounds), max(high for _, high in bounds))

    def x(value: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * (value - first) / (last - first), 2)

    marks = tuple(
        Mark(label, TOP + ROW_HEIGHT * (n + 0.5), x(s.mean), x(low), x(high), _text(s))
        for n, ((label, s), (low, high)) in enumerate(zip(entries, bounds, strict=True))
    )
    count = round((last - first) / step)
    values = [round(first + n * step, 6) for n in range(count + 1)]
    base = TOP + ROW_HEIGHT * len(entries)
    ticks = tuple((x(value), f"{value:g}") for value in values)
    return Plot(title, LEFT + RIGHT, base + BOTTOM, base, marks, ticks)


def _axis(low: float, high: float) -> tuple[float, float, float]:
    """(step, first, last) of an axis with round numbers around the data."""
    for step in _STEPS:
        first, last = step * (low // step), step * (-(-high // step))
        if last == first:
            last = first + step
        if (last - first) / step <= _MAX_TICKS:
            return step, first, last
    return high - low, low, high


def _text(summary: MetricSummary) -> str:
    if summary.ci_low is None or summary.ci_high is None:
        return f"{summary.mean:.4g}"
    return f"{summary.mean:.4g} (95 % interval {summary.ci_low:.4g} to {summary.ci_high:.4g})"
