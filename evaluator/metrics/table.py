"""The table of metrics: one row each.

A new metric is a function in `formulas` and a row here: its values at the edges, unit, range and
direction follow from the row, and `case_metrics` and every report show it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evaluator.metrics import formulas
from evaluator.metrics.case import Mask, Profile, Situation, examine
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
# Specificity and false-positive area mean something on normal images, so the formulas apply there;
# without any background, none of it can be called lesion.
BACKGROUND = {Situation.REFERENCE_WHOLE: Edge.BEST, Situation.PREDICTION_EMPTY: Edge.BEST}
# What is of lesions alone leaves out images without one.
LESION_ONLY = {
    Situation.BOTH_EMPTY: Edge.DROPPED,
    Situation.PREDICTION_EMPTY: Edge.WORST,
    Situation.REFERENCE_EMPTY: Edge.DROPPED,
}
# Awesome-BUS's smoothed ratios are defined everywhere; an image without a lesion on which something
# was predicted is left out of its mean HD95.
SMOOTHED: Mapping[Situation, Edge] = {}
AWESOME_BUS_DISTANCE = {
    Situation.BOTH_EMPTY: Edge.BEST,
    Situation.PREDICTION_EMPTY: Edge.WORST,
    Situation.REFERENCE_EMPTY: Edge.DROPPED,
}


# The ranked metrics, as the Awesome-BUS benchmark defines them.
AWESOME_BUS = {
    "dice": Rule(formulas.dice_awesome_bus_2025, SMOOTHED),
    "iou": Rule(formulas.iou_awesome_bus_2025, SMOOTHED),
    "hd95": Rule(formulas.hd95_awesome_bus_2025, AWESOME_BUS_DISTANCE),
}


def _row(
    name: str, title: str, kind: Kind, *, native: Formula, edges: Mapping[Situation, Edge] = JUDGED
) -> Metric:
    """A metric; only ratios are better when higher."""
    rules: dict[Profile, Rule] = {"native": Rule(native, edges)}
    if name in AWESOME_BUS:
        rules["awesome-bus-2025"] = AWESOME_BUS[name]
    return Metric(name, title, kind, higher_is_better=kind is Kind.RATIO, rules=rules)


RATIO, DISTANCE, AREA = Kind.RATIO, Kind.DISTANCE, Kind.AREA
NSD_TITLE = f"NSD ({formulas.TOLERANCE_PX:g} px or {formulas.TOLERANCE_MM:g} mm)"
ROWS = (
    _row("dice", "Dice", RATIO, native=formulas.dice),
    _row("iou", "IoU", RATIO, native=formulas.iou),
    _row("hd95", "HD95", DISTANCE, native=formulas.hd95),
    _row("precision", "Precision", RATIO, native=formulas.precision),
    _row("recall", "Recall", RATIO, native=formulas.recall),
    _row("specificity", "Specificity", RATIO, native=formulas.specificity, edges=BACKGROUND),
    _row("fp_area", "False-positive area", AREA, native=formulas.false_positive_area, edges={}),
    _row("hd100", "HD100", DISTANCE, native=formulas.hd100),
    _row("assd", "ASSD", DISTANCE, native=formulas.assd),
    _row("nsd", NSD_TITLE, RATIO, native=formulas.nsd),
)
METRICS = {metric.name: metric for metric in ROWS}


def metrics_of(profile: Profile) -> tuple[Metric, ...]:
    """The metrics that a profile defines, in the table's order."""
    return tuple(metric for metric in ROWS if profile in metric.rules)


def case_metrics(
    prediction: Mask,
    reference: Mask,
    spacing: Sequence[float] | None = None,
    *,
    profile: Profile = "native",
) -> dict[str, float]:
    """All metrics of one case, in one pass over its boundaries.

    Arguments, values and errors are those of `Metric.__call__`; keys are the metrics' names.
    """
    case = examine(prediction, reference, spacing, profile=profile)
    return {metric.name: metric.of(case) for metric in metrics_of(profile)}


def worst(metric: str, shape: tuple[int, int], spacing: Sequence[float] | None = None) -> float:
    """What a missing or invalid output gets on an image of `shape`, in the metric's unit."""
    return METRICS[metric].worst(shape, spacing)


def edge_table(profile: Profile = "native") -> dict[Situation, dict[str, Edge]]:
    """What every metric gives at the edges: one row a situation, one column a metric."""
    return {
        situation: {metric.name: metric.edge(situation, profile) for metric in metrics_of(profile)}
        for situation in Situation
    }
