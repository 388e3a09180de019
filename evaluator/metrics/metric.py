"""A metric: a formula, a unit and range, a direction, and what it gives at the edges."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from evaluator.metrics.case import Case, Mask, Profile, Situation, check_spacing, examine

Formula = Callable[[Case], float]


class Kind(StrEnum):
    """What a metric's values are, which fixes their unit and range."""

    RATIO = "ratio"  # 0 to 1, no unit
    DISTANCE = "distance"  # 0 to the image's diagonal
    AREA = "area"  # 0 to the image's area


class Edge(StrEnum):
    """What a metric gives in a situation that its formula may not cover."""

    FORMULA = "formula"  # the formula applies here too
    BEST = "best"
    WORST = "worst"
    DROPPED = "dropped"  # NaN; the averages of Awesome-BUS leave such an image out


@dataclass(frozen=True)
class Rule:
    """A metric under one profile: situations not in `edges` follow the formula."""

    formula: Formula
    edges: Mapping[Situation, Edge]


@dataclass(frozen=True)
class Metric:
    """One metric; calling it computes it.

    Attributes:
        name: its key in results, a stable identifier.
        title: how people read it.
        rules: its definition under each profile that has it.
    """

    name: str
    title: str
    kind: Kind
    higher_is_better: bool
    rules: Mapping[Profile, Rule]

    def unit(self, spacing: Sequence[float] | None = None) -> str:
        """`mm` or `mm²` where the spacing is known, else `px` or `px²`; a ratio has none."""
        length = "px" if spacing is None else "mm"
        return {Kind.RATIO: "", Kind.DISTANCE: length, Kind.AREA: f"{length}²"}[self.kind]

    def range(
        self, shape: tuple[int, int], spacing: Sequence[float] | None = None
    ) -> tuple[float, float]:
        """(lowest, highest) value on an image of `shape`, in the metric's unit."""
        row, column = check_spacing(spacing) or (1.0, 1.0)
        height, width = shape[0] * row, shape[1] * column
        highest = {
            Kind.RATIO: 1.0,
            Kind.DISTANCE: math.hypot(height, width),
            Kind.AREA: height * width,
        }
        return 0.0, highest[self.kind]

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest value on any image."""
        return 0.0, 1.0 if self.kind is Kind.RATIO else math.inf

    def best(self, shape: tuple[int, int], spacing: Sequence[float] | None = None) -> float:
        """The value of a perfect output on an image of `shape`."""
        return self.range(shape, spacing)[self.higher_is_better]

    def worst(self, shape: tuple[int, int], spacing: Sequence[float] | None = None) -> float:
        """The value of a missing or invalid output on an image of `shape`."""
        return self.range(shape, spacing)[not self.higher_is_better]

    def edge(self, situation: Situation, profile: Profile = "native") -> Edge:
        """The metric's entry in the edge table."""
        return self.rules[profile].edges.get(situation, Edge.FORMULA)

    def of(self, case: Case) -> float:
        """The metric's value on an examined case; NaN only where the edge table says dropped."""
        return self.by(self.rules[case.profile], case)

    def by(self, rule: Rule, case: Case) -> float:
        """As `of`, by a definition that may be another version's."""
        edge = rule.edges.get(case.situation, Edge.FORMULA)
        if edge is Edge.FORMULA:
            return rule.formula(case)
        if edge is Edge.DROPPED:
            return math.nan
        extreme = self.best if edge is Edge.BEST else self.worst
        return extreme(case.shape, case.spacing)

    def __call__(
        self,
        prediction: Mask,
        reference: Mask,
        spacing: Sequence[float] | None = None,
        profile: Profile = "native",
    ) -> float:
        """The metric of one case.

        Args:
            prediction: 2-D boolean array, true where a lesion is predicted.
            reference: the same of the reference, of the same shape.
            spacing: millimetres per (row, column) step, or None for pixels.
            profile: `native`, or `awesome-bus-2025` where the metric has one.

        Returns:
            A finite number; in the `awesome-bus-2025` profile NaN for an image that it drops.

        Raises:
            ValueError: for any other input, in one sentence.
        """
        case = examine(prediction, reference, spacing, profile=profile)
        if profile not in self.rules:
            raise ValueError(f"The {profile} profile does not define {self.title}.")
        return self.of(case)


def mean(values: Iterable[float], profile: Profile = "native") -> float:
    """The mean over cases.

    The `awesome-bus-2025` profile leaves out what its edge table drops, which `Metric` gives as
    NaN. Nothing is dropped from `native`: there NaN is a bug, and infinity is one everywhere.

    Raises:
        ValueError: for a value that may not be averaged, or where no value is left.
    """
    numbers = [float(value) for value in values]
    if profile == "awesome-bus-2025":
        numbers = [number for number in numbers if not math.isnan(number)]
    if not numbers:
        raise ValueError("There is no case to average.")
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"A mean of the {profile} profile may not contain NaN or infinity.")
    return math.fsum(numbers) / len(numbers)
