"""The metrics: what the challenge means by Dice, IoU, HD95 and their companions.

`dice`, `iou` and `hd95` are rows of `METRICS`, and like every row they can be called on two masks;
`case_metrics` gives a case's whole row. Definitions are fixed by profile: `native` ranks,
`awesome-bus-2025` reproduces the published table of the Awesome-BUS benchmark.
"""

from evaluator.metrics.case import PROFILES, Case, Profile, Situation, examine
from evaluator.metrics.metric import Edge, Kind, Metric, mean
from evaluator.metrics.profiles import (
    VERSIONS,
    ProfileVersion,
    profile_version,
    ranking_profile,
)
from evaluator.metrics.table import METRICS, case_metrics, edge_table, metrics_of, worst

dice = METRICS["dice"]
iou = METRICS["iou"]
hd95 = METRICS["hd95"]

__all__ = [
    "METRICS",
    "PROFILES",
    "VERSIONS",
    "Case",
    "Edge",
    "Kind",
    "Metric",
    "Profile",
    "ProfileVersion",
    "Situation",
    "case_metrics",
    "dice",
    "edge_table",
    "examine",
    "hd95",
    "iou",
    "mean",
    "metrics_of",
    "profile_version",
    "ranking_profile",
    "worst",
]
