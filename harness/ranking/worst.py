"""The subgroup of the test cases on which a submission does worst.

Of several noisy means the worst is too bad on the average, the more so the smaller the groups are:
it is shown with its group and its patients, and only groups with `FEWEST` patients are looked at.
"""

from __future__ import annotations

from collections.abc import Mapping

from evaluator.documents.base import Contract
from evaluator.documents.scores import GroupScores
from evaluator.scoring.groups import SIZES
from evaluator.scoring.intervals import MIN_PATIENTS
from harness.ranking.metrics import METRICS

FEWEST = MIN_PATIENTS  # patients: a smaller group has no interval either
CLASSES = ("benign", "malignant", "normal")
NAMED = ("device ", "birads ")  # what the names of scanners and grades begin with


class WorstGroup(Contract):
    """The subgroup with the worst mean of a metric."""

    group: str  # by the names of `evaluator.scoring.groups`
    mean: float
    patients: int


def worst_groups(groups: Mapping[str, GroupScores]) -> dict[str, WorstGroup]:
    """Of each ranked metric the worst class, quarter of lesion size, scanner or BI-RADS grade.

    Args:
        groups: all groups of a submission, whatever they are about.

    Returns:
        By metric; none where fewer than two such groups have `FEWEST` patients.
    """
    subgroups = {
        name: scores
        for name, scores in groups.items()
        if (name in CLASSES or name in SIZES or name.startswith(NAMED))
        and scores.patients >= FEWEST
    }
    found = {}
    for metric in METRICS:
        summaries = {name: scores.metrics.get(metric.key) for name, scores in subgroups.items()}
        means = {name: one.mean for name, one in summaries.items() if one is not None}
        if len(means) > 1:
            pick = min if metric.higher_is_better else max
            name = pick(sorted(means), key=means.__getitem__)
            patients = subgroups[name].patients
            found[metric.key] = WorstGroup(group=name, mean=means[name], patients=patients)
    return found
