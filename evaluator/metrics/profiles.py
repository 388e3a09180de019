"""Versions of the metric profiles: by which definitions a result was measured, and their digest.

A definition that changes, or code behind it that gives other numbers, is a new version, raised by
hand; the earlier ones stay, so that any result can be computed again. Only results of the same
version and digest are ever compared. A row here is one version: it says where it differs from the
table of metrics, which is version 1 of each profile.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from evaluator.documents.scores import RANKED, MetricProfile
from evaluator.files import canonical_json, sha256_bytes
from evaluator.metrics import formulas
from evaluator.metrics.case import Mask, Profile, Situation, examine
from evaluator.metrics.metric import Edge, Metric, Rule
from evaluator.metrics.table import LESION_ONLY, METRICS, metrics_of


@dataclass(frozen=True)
class ProfileVersion:
    """One version of a metric profile.

    Attributes:
        metrics: those that it defines, which its digest covers; what is measured beside them was
            added later, and is in the next version's.
        parameters: what it declares beside the values at the edges.
        changed: metric -> its definition, where that is not the table's.
    """

    name: Profile
    version: int
    metrics: tuple[str, ...]
    parameters: Mapping[str, str | float]
    changed: Mapping[str, Rule] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What people call it: `native@1`."""
        return f"{self.name}@{self.version}"

    @cached_property
    def identity(self) -> MetricProfile:
        """What a result says of it."""
        digest = sha256_bytes(canonical_json(self.definition()))
        return MetricProfile(name=self.name, version=self.version, digest=digest)

    @property
    def ranks(self) -> bool:
        """Whether results by it are ranked: no ranked metric may leave out a case."""
        return not any(map(self.leaves_out, RANKED))

    def leaves_out(self, metric: str) -> bool:
        """Whether a metric is not of all cases."""
        return Edge.DROPPED in self.rule(metric).edges.values()

    def rule(self, metric: str) -> Rule:
        """A metric's definition."""
        return self.changed.get(metric) or METRICS[metric].rules[self.name]

    def definition(self) -> dict[str, Any]:
        """All that the digest covers, as plain JSON values."""
        return {
            "schema": "busbench/metric-profile/v1",
            "name": self.name,
            "version": self.version,
            "parameters": dict(self.parameters),
            "metrics": {name: self._declared(METRICS[name]) for name in self.metrics},
        }

    def _declared(self, metric: Metric) -> dict[str, Any]:
        edges = self.rule(metric.name).edges
        return {
            "kind": metric.kind,
            "higher_is_better": metric.higher_is_better,
            "edges": {situation: edges.get(situation, Edge.FORMULA) for situation in Situation},
        }

    def values(
        self, prediction: Mask, reference: Mask, spacing: Sequence[float] | None = None
    ) -> dict[str, float]:
        """All metrics of one case, as `case_metrics` gives them; NaN where a case is left out.

        Raises:
            ValueError: see `Metric.__call__`.
        """
        case = examine(prediction, reference, spacing, profile=self.name)
        return {m.name: m.by(self.rule(m.name), case) for m in metrics_of(self.name)}

    def worst(
        self, shape: tuple[int, int], spacing: Sequence[float] | None, *, lesion: bool
    ) -> dict[str, float]:
        """What a missing or invalid output gets on an image of `shape`, metric by metric.

        Args:
            lesion: whether the reference has one; NaN for metrics that leave out other images.
        """
        return {
            metric.name: math.nan
            if not lesion and self.rule(metric.name).edges.get(EMPTY) is Edge.DROPPED
            else metric.worst(shape, spacing)
            for metric in metrics_of(self.name)
        }


EMPTY = Situation.REFERENCE_EMPTY
NATIVE: Mapping[str, str | float] = {
    "grid": "the image's own",
    "boundary": "mask without its 4-connected erosion, background outside the image",
    "hd95": "larger of both directed 95th percentiles, linear",
    "nsd_tolerance_px": formulas.TOLERANCE_PX,
    "nsd_tolerance_mm": formulas.TOLERANCE_MM,
}
DEFINED = (
    *("dice", "iou", "hd95", "precision", "recall", "specificity", "fp_area"),
    *("hd100", "assd", "nsd"),
)
ROWS = (
    ProfileVersion("native", 1, DEFINED, NATIVE),
    # Recall is of lesions: on an image without one, no tool defines it, and a mean over all images
    # would be another number than the literature's. Version 1 has 1 there, or 0.
    ProfileVersion(
        "native", 2, DEFINED, NATIVE, changed={"recall": Rule(formulas.recall, LESION_ONLY)}
    ),
    ProfileVersion(
        "awesome-bus-2025",
        1,
        RANKED,
        {
            "grid": "letterboxed to 224 x 224, masks by OpenCV's nearest rule",
            "boundary": "mask without its 8-connected erosion, foreground outside the image",
            "hd95": "95th percentile of both directions' distances together, linear",
            "smoothing": float(formulas.SMOOTHING),
        },
    ),
)
VERSIONS: dict[str, ProfileVersion] = {row.label: row for row in ROWS}
DEFAULT = "native@1"


def profile_version(label: str) -> ProfileVersion:
    """The version of a profile that is called `label`; a name alone is its version 1.

    Raises:
        ValueError: where there is none, naming those that there are.
    """
    found = VERSIONS.get(label) or VERSIONS.get(f"{label}@1")
    if found is None:
        raise ValueError(f"there is no metric profile {label!r:.80}, only {', '.join(VERSIONS)}")
    return found


def ranking_profile(label: str) -> ProfileVersion:
    """As `profile_version`, of those that results are ranked by.

    Raises:
        ValueError: also where the profile leaves cases out of a ranked metric.
    """
    found = profile_version(label)
    if not found.ranks:
        others = ", ".join(row.label for row in VERSIONS.values() if row.ranks)
        raise ValueError(f"{found.label} leaves cases out, so it ranks nothing; {others} rank")
    return found
