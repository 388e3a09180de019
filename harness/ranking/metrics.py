"""The metrics that rank, and what a model takes, as they are shown."""

from __future__ import annotations

from dataclasses import dataclass

from evaluator.documents.inference import Measured
from evaluator.documents.scores import RANKED, MetricSummary
from evaluator.metrics import METRICS as DEFINED

MISSING = "–"
NOT_COUNTED = "not counted"  # work of a network with an operator that has no counting rule


@dataclass(frozen=True)
class RankedMetric:
    """How a metric is ranked and shown."""

    key: str  # in `GroupScores.metrics`
    label: str
    higher_is_better: bool
    digits: int  # after the point

    @property
    def arrow(self) -> str:
        """The direction of better."""
        return "↑" if self.higher_is_better else "↓"

    def number(self, value: float | None) -> str:
        """A value as people read it."""
        return MISSING if value is None else f"{value:.{self.digits}f}"

    def mean_and_std(self, summary: MetricSummary | None) -> str:
        """`mean ± std over folds`, or the mean alone with a single model."""
        if summary is None:
            return MISSING
        mean = self.number(summary.mean)
        return mean if summary.std is None else f"{mean} ± {self.number(summary.std)}"

    def title(self, units: dict[str, str]) -> str:
        """The heading of its column: label, unit where there is one, direction."""
        unit = units.get(self.key)  # a plain ratio has none
        return f"{self.label} [{unit}] {self.arrow}" if unit else f"{self.label} {self.arrow}"


@dataclass(frozen=True)
class Cost:
    """What a model takes beside its latency, and how that is shown."""

    key: str  # in `Measured`
    label: str
    unit: str

    def value(self, measured: Measured) -> float | None:
        """What was measured; None where the device does not tell."""
        value: float | None = getattr(measured, self.key)
        return value

    def is_told(self, measured: Measured) -> bool:
        """Whether it was measured."""
        return self.value(measured) is not None

    def number(self, measured: Measured) -> str:
        """The value as people read it, to three digits or whole."""
        value = self.value(measured)
        return MISSING if value is None else f"{value:.{1 if value < 100 else 0}f}"

    @property
    def title(self) -> str:
        """The heading of its column."""
        return f"{self.label} [{self.unit}]"


COSTS = (
    Cost("seconds", "Inference", "s"),
    Cost("host_memory_mb", "Memory", "MiB"),
    Cost("gpu_memory_mb", "GPU memory", "MiB"),
    Cost("energy_j", "Energy", "J"),
)
GAP = RankedMetric("dice_gap", "Dice gap", False, digits=3)  # shown, never ranked
METRICS = tuple(
    RankedMetric(key, DEFINED[key].title, DEFINED[key].higher_is_better, 2 if key == "hd95" else 3)
    for key in RANKED
)
