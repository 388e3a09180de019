"""`scores.json`: score -> harness."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

from pydantic import Field

from evaluator.documents.base import GROUP_BY_GROUP, Contract, Digest
from evaluator.documents.reading import Bounds

Ranked = Literal["dice", "iou", "hd95"]  # the metrics that rank; all others are shown
RANKED: tuple[Ranked, ...] = get_args(Ranked)


class MetricSummary(Contract):
    """One metric over the cases of one group, fold by fold."""

    mean: float
    std: float | None  # over folds, ddof 1; null with a single model
    ci_low: float | None = None  # 95 %, bootstrap over patients; null for small groups
    ci_high: float | None = None
    folds: tuple[float, ...]


class Consistency(Contract):
    """What a group loses on transformed images; see `evaluator.consistency`.

    Over those of its lesion cases that keep at least half of their lesion.
    """

    cases: int
    transformed: dict[str, MetricSummary]  # on the transformed images
    gap: dict[str, MetricSummary]  # plain minus transformed, case by case


class GroupScores(Contract):
    """All metrics over one group of test cases."""

    cases: int
    patients: int
    metrics: dict[str, MetricSummary]
    consistency: Consistency | None = None  # null where the pass is off, or no case qualifies


class Scores(Contract):
    """`scores.json`: the score container's result, before the harness signs a report."""

    bounds: ClassVar[Bounds] = GROUP_BY_GROUP
    schema_: Literal["busbench/scores/v2"] = Field(default="busbench/scores/v2", alias="schema")
    metric_profile: str
    units: dict[str, str]
    groups: dict[str, GroupScores]  # by the names of `evaluator.scoring.groups`
    true_negatives: int  # both masks empty, over all folds
    invalid: int  # masks that took the worst value, over all folds and both passes
    predictions_sha256: Digest
