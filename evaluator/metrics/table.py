"""Which metrics are there? One row each.

A new metric is a file in `formulas` and a row here: its values at the edges, unit, range and
direction follow from the row, and `case_metrics` and every report show it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evaluator.metrics.case import Mask, Profile, Situation, examine
from evaluator.metrics.formulas import (
    assd,
    dice,
    false_positive_area,
    hd95,
    hd100,
    iou,
    nsd,
    precision,
    recall,
    specificity,
)
from evaluator.metrics.metric import Edge, Formula, Kind, Metric, Rule

# The columns of the edge table; what a column leaves out follows the formula. `edge_table` shows
# them side by side.
#
# Exactly one empty mask is the worst answer, not an undefined one: a policy that drops or forgives
# such cases reorders a board more than any formula does.
JUDGED = {
    Situation.BOTH_EMPTY: Edge.BEST,
    Situation.PREDICTION_EMPTY: Edge.WORST,
    Situation.REFERENCE_EMPTY: Edge.WORST,
}
# Specificity and false-positive area mean something on normal images, so the formulas hold there;
# without any background, none of it can be called lesion.
BACKGROUND = {Situation.REFERENCE_WHOLE: Edge.BEST, Situation.PREDICTION_EMPTY: Edge.BEST}
# The seed's smoothed ratios answer everywhere; an image without a lesion on which something was
# predicted is left out of its mean HD95.
SMOOTHED: Mapping[Situation, Edge] = {}
SEED_DISTANCE = {
    Situation.BOTH_EMPTY: Edge.BEST,
    Situation.PREDICTION_EMPTY: Edge.WORST,
    Situation.REFERENCE_EMPTY: Edge.DROPPED,
}


def _row(
    name: str,
    title: str,
    kind: Kind,
    native: Formula,
    edges: Mapping[Situation, Edge],
    *,
    seed: Rule | None = None,
) -> Metric:
    """A metric; only ratios are better when higher."""
    rules: dict[Profile, Rule] = {"native": Rule(native, edges)}
    if seed is not None:
        rules["seed"] = seed
    return Metric(name, title, kind, higher_is_better=kind is Kind.RATIO, rules=rules)


DICE_SEED = Rule(dice.seed, SMOOTHED)
IOU_SEED = Rule(iou.seed, SMOOTHED)
HD95_SEED = Rule(hd95.seed, SEED_DISTANCE)
NSD_TITLE = f"NSD ({nsd.TOLERANCE_PX:g} px or {nsd.TOLERANCE_MM:g} mm)"

ROWS = (
    _row("dice", "Dice", Kind.RATIO, dice.native, JUDGED, seed=DICE_SEED),
    _row("iou", "IoU", Kind.RATIO, iou.native, JUDGED, seed=IOU_SEED),
    _row("hd95", "HD95", Kind.DISTANCE, hd95.native, JUDGED, seed=HD95_SEED),
    _row("precision", "Precision", Kind.RATIO, precision.native, JUDGED),
    _row("recall", "Recall", Kind.RATIO, recall.native, JUDGED),
    _row("specificity", "Specificity", Kind.RATIO, specificity.native, BACKGROUND),
    _row("fp_area", "False-positive area", Kind.AREA, false_positive_area.native, {}),
    _row("hd100", "HD100", Kind.DISTANCE, hd100.native, JUDGED),
    _row("assd", "ASSD", Kind.DISTANCE, assd.native, JUDGED),
    _row("nsd", NSD_TITLE, Kind.RATIO, nsd.native, JUDGED),
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
