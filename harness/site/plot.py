"""Where on a dot-and-interval plot does each result lie?

Positions are percentages of the plot's width, so that one drawing fits every screen while its
text and dots keep their size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from harness.ranking import RankedMetric, Track

STEPS = (1.0, 2.0, 5.0, 10.0, 20.0)  # times a power of ten
MOST_TICKS = 5
SHOWN = 30  # results: beyond that a plot is no longer read


@dataclass(frozen=True)
class Axis:
    """A linear axis whose ends and ticks are whole multiples of a round step."""

    first: int
    last: int
    step: float

    @classmethod
    def around(cls, values: Sequence[float], metric: RankedMetric) -> Axis:
        """The shortest such axis that holds all `values`, at most `MOST_TICKS` ticks long.

        A lone value gets fifty of the metric's last digit around it.
        """
        middle, span = (min(values) + max(values)) / 2, max(values) - min(values)
        span = max(span, 50 * 10.0**-metric.digits)
        low = max(min(*values, middle - span / 2), metric.bounds[0])
        high = min(max(*values, middle + span / 2), metric.bounds[1])
        power = 10.0 ** math.floor(math.log10((high - low) / MOST_TICKS))
        for step in (power * step for step in STEPS):
            # rounded, for a tick at 0.7 shall not be 0.1 * 7.000000000000001
            axis = cls(math.floor(round(low / step, 9)), math.ceil(round(high / step, 9)), step)
            if axis.last - axis.first < MOST_TICKS:
                break
        return axis

    def at(self, value: float) -> float:
        """Where a value lies, in percent from the left."""
        part = (value / self.step - self.first) / (self.last - self.first)
        return round(100 * min(max(part, 0.0), 1.0), 2)

    @cached_property
    def ticks(self) -> list[tuple[float, str]]:
        """(percent, label) of each tick."""
        digits = max(0, -math.floor(math.log10(self.step)))
        numbers = (n * self.step for n in range(self.first, self.last + 1))
        return [(self.at(number), f"{number:.{digits}f}") for number in numbers]


@dataclass(frozen=True)
class Strip:
    """One result on the axis, in percent."""

    method: str
    dot: float
    interval: tuple[float, float] | None
    folds: tuple[float, ...]
    spoken: str  # the same for those who listen


@dataclass(frozen=True)
class Panel:
    """One metric of one track."""

    title: str
    axis: Axis
    strips: tuple[Strip, ...]


def panel(track: Track, metric: RankedMetric) -> Panel:
    """Place the first `SHOWN` ranked results, of which there must be one, on an axis."""
    shown = [(row, row.groups["all"].metrics[metric.key]) for row in track.ranked[:SHOWN]]
    ends = [
        value
        for _, summary in shown
        for value in (summary.mean, summary.ci_low, summary.ci_high, *summary.folds)
        if value is not None
    ]
    axis = Axis.around(ends, metric)
    strips = []
    for row, summary in shown:
        spoken, interval = metric.mean_and_std(summary), None
        if summary.ci_low is not None and summary.ci_high is not None:
            interval = (axis.at(summary.ci_low), axis.at(summary.ci_high))
            low, high = metric.number(summary.ci_low), metric.number(summary.ci_high)
            spoken += f", 95 % interval {low} to {high}"
        folds = tuple(axis.at(value) for value in summary.folds) if len(summary.folds) > 1 else ()
        strips.append(Strip(row.method, axis.at(summary.mean), interval, folds, spoken))
    return Panel(metric.title(track.units), axis, tuple(strips))
