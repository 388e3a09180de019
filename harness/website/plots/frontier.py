"""Accuracy against cost: a dot a result, and the line of those that none beats at both.

Vega-Lite does not know how wide a name is drawn, so names are placed here, and one that would
cover another or a dot is left out: the table below the plot has it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import altair as alt

from harness.website.plots.charts import Chart, data
from harness.website.plots.drawing import ACCENT, MUTED, SECOND, Look
from harness.website.plots.scales import NUMBER, span
from harness.website.plots.shown import Shown

ORIGINS = {True: "trained here", False: "supplied"}
DOT = 7  # pixels around a dot's centre that no name covers
Align = Literal["left", "right"]
SIDES: Mapping[str, tuple[Align, int, int]] = {  # align, dx, dy of a name beside its dot
    "right": ("left", 9, 0),
    "left": ("right", -9, 0),
    "above right": ("left", 4, -16),
    "above left": ("right", -4, -16),
    "below right": ("left", 4, 16),
    "below left": ("right", -4, 16),
}


@dataclass(frozen=True)
class Point:
    """One result: what its model takes for an image, and the mean Dice."""

    name: str
    gmacs: float
    dice: float
    trained_here: bool


class Box(NamedTuple):
    """A rectangle on the plot, in pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Whether the two have a point in common."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


def points(shown: Shown) -> list[Point]:
    """The results whose work was counted, in order of rank."""
    return [
        Point(label, row.gmacs, row.groups["all"].metrics["dice"].mean, row.trained_here)
        for label, row in shown.each()
        if row.gmacs
    ]


def frontier(found: Sequence[Point]) -> list[Point]:
    """The Pareto line: those that no other has the Dice of for less work, cheapest first."""
    line: list[Point] = []
    for point in sorted(found, key=lambda one: (one.gmacs, -one.dice)):
        if not line or point.dice > line[-1].dice:
            line.append(point)
    return line


def cost(shown: Shown, look: Look) -> Chart | None:
    """Dice against the work for one image."""
    found = points(shown)
    if not found:
        return None
    plane = Plane.of(found, look)
    base = alt.Chart(data([_record(point) for point in found])).encode(x=plane.x, y=plane.y)
    shape = alt.Shape("origin:N").scale(domain=[*ORIGINS.values()], range=["circle", "diamond"])
    colour = alt.Color("origin:N").scale(domain=[*ORIGINS.values()], range=[ACCENT, SECOND])
    dots = base.mark_point(filled=True, opacity=1, size=80).encode(color=colour, shape=shape)
    line = alt.Chart(data([_record(point) for point in frontier(found)])).encode(
        x=plane.x, y=plane.y
    )
    layers = [line.mark_line(color=MUTED, interpolate="step-after", strokeDash=[4, 3]), dots]
    placed = [*place(found, plane, look)]
    for side, (align, dx, dy) in SIDES.items():
        named = [_record(point) for point, where in placed if where == side]
        if named:
            text = alt.Chart(data(named)).mark_text(align=align, dx=dx, dy=dy)
            layers.append(text.encode(x=plane.x, y=plane.y, text="name:N"))
    return alt.layer(*layers).properties(width=plane.width, height=plane.height)


@dataclass(frozen=True)
class Plane:
    """Both scales of the plot, and where a point is on it."""

    width: int
    height: int
    gmacs: tuple[float, float]
    dice: tuple[float, float]

    @classmethod
    def of(cls, found: Sequence[Point], look: Look) -> Plane:
        width, height = (look.width - 60, 320) if look.narrow else (look.width - 60, 400)
        low, high = (pick(point.gmacs for point in found) for pick in (min, max))
        air = max((high / low) ** 0.12, 1.5)
        dice = span([_record(point) for point in found], "dice")
        more = 0.06 * (dice[1] - dice[0])
        return cls(width, height, (low / air, high * air), (dice[0] - more, dice[1] + more))

    @property
    def x(self) -> alt.X:
        """The axis of work."""
        ticks = [digit * 10.0**power for power in range(-9, 6) for digit in (1, 2, 5)]
        axis = alt.Axis(format=NUMBER, values=ticks, labelOverlap="greedy", labelSeparation=10)
        scale = alt.Scale(type="log", nice=False, domain=list(self.gmacs))
        return alt.X("gmacs:Q").scale(scale).title("GMACs an image, log scale ↓").axis(axis)

    @property
    def y(self) -> alt.Y:
        """The axis of Dice."""
        scale = alt.Scale(zero=False, nice=False, domain=list(self.dice))
        return alt.Y("dice:Q").scale(scale).title("Dice ↑").axis(tickCount=6, titlePadding=14)

    def contains(self, box: Box) -> bool:
        """Whether nothing of it is outside."""
        across = box.left >= 0 and box.right <= self.width
        return across and box.top >= 0 and box.bottom <= self.height

    def at(self, point: Point) -> tuple[float, float]:
        """Pixels from the left and from the top."""
        low, high = map(math.log, self.gmacs)
        across = (math.log(point.gmacs) - low) / (high - low)
        up = (point.dice - self.dice[0]) / (self.dice[1] - self.dice[0])
        return across * self.width, (1 - up) * self.height


def place(found: Sequence[Point], plane: Plane, look: Look) -> Iterator[tuple[Point, str]]:
    """Each name that has space, and on which side of its dot; those on the Pareto line first."""
    line = frontier(found)
    taken = [*_dots(found, plane), *_steps(line, plane)]
    for point in (*line, *(point for point in found if point not in line)):
        x, y = plane.at(point)
        half, tall = 0.3 * look.font * len(point.name), 0.6 * look.font  # of the widest fonts
        for side, (align, dx, dy) in SIDES.items():
            shift = half if align == "left" else -half
            middle, level = x + dx + shift, y + dy
            box = Box(middle - half, level - tall, middle + half, level + tall)
            if plane.contains(box) and not any(map(box.meets, taken)):
                taken.append(box)
                yield point, side
                break


def _dots(found: Sequence[Point], plane: Plane) -> Iterator[Box]:
    for x, y in map(plane.at, found):
        yield Box(x - DOT, y - DOT, x + DOT, y + DOT)


def _steps(line: Sequence[Point], plane: Plane) -> Iterator[Box]:
    """The Pareto line: from each of its points to the right, then up to the next."""
    for (x, y), (right, top) in pairwise(map(plane.at, line)):
        yield Box(x, y - 1, right, y + 1)
        yield Box(right - 1, top, right + 1, y)


def _record(point: Point) -> dict[str, object]:
    origin = ORIGINS[point.trained_here]
    return {"name": point.name, "gmacs": point.gmacs, "dice": point.dice, "origin": origin}
