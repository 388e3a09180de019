"""`scores.json`: score -> harness."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Annotated, ClassVar, Literal, Self, get_args

from pydantic import Field

from evaluator.documents.base import (
    GROUP_BY_GROUP,
    MAX_CASES,
    MAX_FOLDS,
    CaseId,
    Contract,
    Digest,
    Label,
    Name,
)
from evaluator.documents.reading import Bounds
from evaluator.documents.sealed import MAX_WINDOWS
from evaluator.files import canonical_json, sha256_bytes

Ranked = Literal["dice", "iou", "hd95"]  # the metrics that rank; all others are shown
RANKED: tuple[Ranked, ...] = get_args(Ranked)
Value = Annotated[float, Field(ge=-1e12, le=1e12)]  # no area of an image is larger
Cases = Annotated[int, Field(ge=0, le=MAX_CASES)]
Masks = Annotated[int, Field(ge=0, le=2 * MAX_CASES * MAX_FOLDS)]  # of all passes


def labels_digest(labels: Iterable[tuple[CaseId, Label | None, Digest]]) -> Digest:
    """What the labels of a test set are called, in whatever order they come.

    Args:
        labels: id, class and the digest of the mask's pixels, of every case.
    """
    return sha256_bytes(canonical_json(["busbench/labels/v1", *sorted(labels)]))


class MetricProfile(Contract):
    """Which definitions metrics were computed by; only results of equal ones are compared."""

    name: Name
    version: int = Field(ge=1)
    digest: Digest  # of the definition, see `evaluator.metrics.profiles`

    @property
    def label(self) -> str:
        """What people call it: `native@1`."""
        return f"{self.name}@{self.version}"

    @property
    def title(self) -> str:
        """The same, with the first digits of its digest."""
        return f"{self.label} ({self.digest[:8]})"


class MetricSummary(Contract):
    """One metric over the cases of one group, fold by fold."""

    mean: Value
    std: Value | None  # over folds, ddof 1; null with a single model
    ci_low: Value | None = None  # 95 %, over patients; null for small groups
    ci_high: Value | None = None
    folds: tuple[Value, ...] = Field(max_length=MAX_FOLDS)

    @classmethod
    def of(cls, means: Sequence[float], interval: tuple[float, float] | None = None) -> Self:
        """The summary of each fold's mean over the cases, with their 95 % interval or none."""
        low, high = interval or (None, None)
        return cls(
            mean=math.fsum(means) / len(means),
            std=statistics.stdev(means) if len(means) > 1 else None,
            ci_low=low,
            ci_high=high,
            folds=tuple(means),
        )


class Consistency(Contract):
    """What a group loses on transformed images; see `evaluator.consistency`.

    Over those of its lesion cases that keep at least half of their lesion in a window or more.
    """

    cases: Cases
    windows: int = Field(ge=1, le=MAX_WINDOWS)  # drawn of each case
    transformed: dict[str, MetricSummary]  # case by case the mean over its windows
    gap: dict[str, MetricSummary]  # plain minus transformed, case by case


class GroupScores(Contract):
    """All metrics and secondary numbers (`evaluator.metrics.secondary`) over one group of cases."""

    cases: Cases
    patients: Cases
    metrics: dict[str, MetricSummary]
    consistency: Consistency | None = None  # null where the pass is off, or no case qualifies


class AwesomeBusScores(Contract):
    """All masks once more as the Awesome-BUS benchmark scores them, for comparing with its tables.

    Metric profile `awesome-bus-2025` over all cases, HD95 in pixels of a 224 x 224 grid; see
    `evaluator.scoring.awesome_bus`. Never ranked.
    """

    metric_profile: MetricProfile
    metrics: dict[str, MetricSummary]  # without intervals, and without HD95 where none is left
    dropped: Masks  # left out of HD95, over all folds: no lesion, and something predicted


class Ensemble(Contract):
    """The fold models together: one mask a case, scored once over all cases. Never ranked."""

    rule: Literal["mean-probability", "majority"]
    # ^ the mean of their probabilities, cut at the submission's threshold; of masks alone, what
    # more than half of the models mark
    models: int = Field(ge=2, le=MAX_FOLDS)
    metrics: dict[str, MetricSummary]


class Scores(Contract):
    """`scores.json`: the score container's result, before the harness signs a report."""

    bounds: ClassVar[Bounds] = GROUP_BY_GROUP
    schema_: Literal["busbench/scores/v5"] = Field(default="busbench/scores/v5", alias="schema")
    metric_profile: MetricProfile
    units: dict[str, str]
    groups: dict[str, GroupScores]  # by the names of `evaluator.scoring.groups`
    awesome_bus_2025: AwesomeBusScores
    ensemble: Ensemble | None = None  # null with a single model, and of validation folds
    true_negatives: Masks  # both masks empty, over all folds
    invalid: Masks  # masks that took the worst value, over all folds and passes
    spaced: Cases  # with a known pixel size; only where all have one, distances are in millimetres
    predictions_sha256: Digest
    labels_sha256: Digest  # of the classes and masks that it was scored with, see `labels_digest`

    @property
    def means(self) -> dict[str, dict[str, float]]:
        """Group -> metric -> mean."""
        return {
            group: {metric: summary.mean for metric, summary in scores.metrics.items()}
            for group, scores in self.groups.items()
        }
