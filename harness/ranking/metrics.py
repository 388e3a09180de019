"""The metrics that rank, the secondary ones and what a model takes, as they are shown."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from evaluator.documents.inference import Measured
from evaluator.documents.scores import RANKED, MetricSummary
from evaluator.metrics import METRICS as DEFINED
from evaluator.metrics import Kind
from evaluator.metrics.secondary import SECONDARY as BESIDE

MISSING = "–"
NOT_COUNTED = "not counted"  # work of a network with an operator that has no counting rule
AWESOME_BUS = "as Awesome-BUS 2025"  # in heads of columns


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

    def interval(self, summary: MetricSummary | None) -> str:
        """The 95 % interval of the mean; missing where there are few patients."""
        ends = (None,) if summary is None else (summary.ci_low, summary.ci_high)
        return MISSING if None in ends else " to ".join(map(self.number, ends))

    def title(self, units: dict[str, str]) -> str:
        """The heading of its column: label, unit where there is one, direction."""
        unit = units.get(self.key)  # a plain ratio has none
        return f"{self.label} [{unit}] {self.arrow}" if unit else f"{self.label} {self.arrow}"

    @property
    def awesome_bus_title(self) -> str:
        """The heading of its column in the profile of Awesome-BUS 2025."""
        return f"{self.title({'hd95': 'px'})}, {AWESOME_BUS}"


@dataclass(frozen=True)
class Cost:
    """What a model takes beside its latency, and how that is shown."""

    key: str  # in `Measured`
    label: str
    unit: str

    def value(self, measured: Measured) -> float | None:
        """What was measured; None where the device does not report it."""
        value: float | None = getattr(measured, self.key)
        return value

    def is_known(self, measured: Measured) -> bool:
        """Whether it was measured."""
        return self.value(measured) is not None

    def number(self, measured: Measured) -> str:
        """The value as people read it: whole numbers as they are, others to three digits."""
        value = self.value(measured)
        if value is None:
            return MISSING
        whole = isinstance(value, int) or value >= 100
        return f"{value:.{0 if whole else 1 if value >= 10 else 2}f}"

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
RANKED_KEYS = frozenset(metric.key for metric in METRICS)
SECONDARY = (  # shown where a viewer asks for them, never ranked
    *(
        RankedMetric(key, one.title, one.higher_is_better, 3 if one.kind is Kind.RATIO else 2)
        for key, one in DEFINED.items()
        if key not in RANKED_KEYS
    ),
    *(RankedMetric(key, one.title, one.higher_is_better, 3) for key, one in BESIDE.items()),
)
BY_KEY = {metric.key: metric for metric in (*METRICS, *SECONDARY)}

AWESOME_BUS_NOTE = (
    f"What is marked `{AWESOME_BUS}` are the same masks on that benchmark's grid of 224 × 224 "
    "pixels and by its definitions: for comparing with its tables, never for ranking."
)


def labels(keys: Collection[str]) -> str:
    """The metrics `keys`, in a sentence."""
    *first, last = (metric.label for metric in METRICS if metric.key in keys)
    return f"{', '.join(first)} and {last}" if first else last
