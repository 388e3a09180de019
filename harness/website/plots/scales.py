"""Axes of plots: from what is drawn on them to a scale and its ticks.

Distances have many small and few large values, so their scale is logarithmic; it is linear below
`LINEAR`, since a distance can be 0, of which there is no logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from evaluator.metrics import METRICS as DEFINED
from evaluator.metrics import Kind
from harness.ranking import RankedMetric

LINEAR = 1.0  # pixels or millimetres, of which a distance's scale is linear below
TICKS = 3  # at least, where the scale is logarithmic
STEPS = (  # multiples of powers of ten
    (1.0,),
    (1.0, 2.0, 5.0),
    tuple(float(digit) for digit in range(1, 10)),
    tuple(quarter / 4 for quarter in range(4, 40)),
)
NUMBER = ".4~g"  # of a tick: without digits of its own, Vega rounds 22.5 to 23
Record = Mapping[str, Any]


def metric_axis(
    metric: RankedMetric, units: dict[str, str], records: Sequence[Record], *fields: str
) -> alt.X:
    """The axis of `fields[0]`, wide enough for all `fields` of the records."""
    low, high = span(records, *fields)
    axis = alt.X(f"{fields[0]}:Q")
    if DEFINED[metric.key].kind is not Kind.DISTANCE:
        scale = alt.Scale(zero=False, nice=True, domain=[low, high])
        return axis.title(metric.title(units)).scale(scale).axis(tickCount=5)
    low = max(low, 0.0)
    scale = alt.Scale(type="symlog", constant=LINEAR, nice=False, domain=[low, high])
    shown = alt.Axis(values=log_ticks(low, high), format=NUMBER, labelOverlap="greedy")
    return axis.title(f"{metric.title(units)}, log scale").scale(scale).axis(shown)


def span(records: Sequence[Record], *fields: str) -> tuple[float, float]:
    """From the smallest to the largest value, with some air: a lone value has an axis, too."""
    found = [record.get(field) for record in records for field in fields]
    values = [value for value in found if value is not None]
    air = 0.02 * (max(values) - min(values)) or 0.02 * max(1.0, abs(max(values)))
    return min(values) - air, max(values) + air


def log_ticks(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`: the fewest of 1, of 1-2-5, … that are `TICKS` or more."""
    powers = range(0, math.ceil(math.log10(max(high, LINEAR))) + 1)
    for digits in STEPS:
        values = [0.0, *(digit * 10.0**power for power in powers for digit in digits)]
        found = [value for value in values if low <= value <= high]
        if len(found) >= TICKS:
            break
    return found
