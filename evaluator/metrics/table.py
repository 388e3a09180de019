"""Which metrics are there? One row each.

A new metric is a file in `formulas` and a row here: its values at the edges, unit, range and
direction follow from the row, and every report shows it.
"""

from __future__ import annotations

from collections.abc import Sequence

from evaluator.metrics.case import Mask, Profile, Situation, examine
from evaluator.metrics.formulas import dice, hd95, iou
from evaluator.metrics.metric import Edge, Kind, Metric, Rule

# What most metrics say where a mask is empty. Exactly one empty mask is the worst answer, not an
# undefined one: a policy that drops or forgives such cases reorders a board more than any formula.
JUDGED = {
    Situation.BOTH_EMPTY: Edge.BEST,
    Situation.PREDICTION_EMPTY: Edge.WORST,
    Situation.REFERENCE_EMPTY: Edge.WORST,
}
# The seed leaves an image without a lesion out of its mean HD95 where something was predicted.
SEED_DISTANCE = JUDGED | {Situation.REFERENCE_EMPTY: Edge.DROPPED}
# The seed's smoothed ratios answer everywhere.
NO_EDGES: dict[Situation, Edge] = {}

ROWS = (
    Metric(
        "dice",
        "Dice",
        Kind.RATIO,
        higher_is_better=True,
        rules={"native": Rule(dice.native, JUDGED), "seed": Rule(dice.seed, NO_EDGES)},
    ),
    Metric(
        "iou",
        "IoU",
        Kind.RATIO,
        higher_is_better=True,
        rules={"native": Rule(iou.native, JUDGED), "seed": Rule(iou.seed, NO_EDGES)},
    ),
    Metric(
        "hd95",
        "HD95",
        Kind.DISTANCE,
        higher_is_better=False,
        rules={"native": Rule(hd95.native, JUDGED), "seed": Rule(hd95.seed, SEED_DISTANCE)},
    ),
)
METRICS = {metric.name: metric for metric in ROWS}


def metrics_of(profile: Profile) -> tuple[Metric, ...]:
    """The metrics that a profile defines, in the table's order."""
    return tuple(metric for metric in ROWS if profile in metric.rules)


def case_metrics(
    prediction: Mask,
    reference: Mask,
    spacing: Sequence[float] | None = None,
    profile: Profile = "native",
) -> dict[str, float]:
    """All metrics of one case, in one pass over its boundaries.

    Arguments, values and errors are those of `Metric.__call__`; keys are the metrics' names.
    """
    case = examine(prediction, reference, spacing, profile)
    return {metric.name: metric.of(case) for metric in metrics_of(profile)}


def worst(metric: str, shape: tuple[int, int], spacing: Sequence[float] | None = None) -> float:
    """What a missing or invalid output gets on an image of `shape`, in the metric's unit."""
    return METRICS[metric].worst(shape, spacing)


def edge_table(profile: Profile = "native") -> dict[Situation, dict[str, Edge]]:
    """What every metric says at the edges: one row a situation, one column a metric."""
    return {
        situation: {metric.name: metric.edge(situation, profile) for metric in metrics_of(profile)}
        for situation in Situation
    }
