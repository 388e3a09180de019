"""What do all metrics of one case share? Its pixel counts and its two lists of boundary distances.

A `Case` is made once per pair of masks; the distances are found when the first metric asks for
them, and never twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from evaluator.metrics.surface import surface_distances

Profile = Literal["native", "seed"]
PROFILES: tuple[Profile, ...] = get_args(Profile)
Mask = NDArray[np.bool_]
Distances = NDArray[np.float64]


class Situation(StrEnum):
    """Which row of the edge table a case stands in; the first that fits."""

    BOTH_EMPTY = "both empty"
    PREDICTION_EMPTY = "prediction empty"
    REFERENCE_EMPTY = "reference empty"
    REFERENCE_WHOLE = "reference is the whole image"
    ORDINARY = "ordinary"


@dataclass(frozen=True, eq=False)
class Case:
    """One prediction beside its reference; make it with `examine`.

    Attributes:
        spacing: millimetres per (row, column) step, or None for pixels.
    """

    prediction: Mask
    reference: Mask
    spacing: tuple[float, float] | None
    profile: Profile
    true_positives: int
    false_positives: int
    false_negatives: int

    @property
    def true_negatives(self) -> int:
        """Pixels that are background in both masks."""
        found = self.true_positives + self.false_positives + self.false_negatives
        return self.reference.size - found

    @property
    def situation(self) -> Situation:
        """The case's row in the edge table."""
        predicted = self.true_positives + self.false_positives
        lesion = self.true_positives + self.false_negatives
        if predicted == 0:
            return Situation.PREDICTION_EMPTY if lesion else Situation.BOTH_EMPTY
        if lesion == 0:
            return Situation.REFERENCE_EMPTY
        if lesion == self.reference.size:
            return Situation.REFERENCE_WHOLE
        return Situation.ORDINARY

    @cached_property
    def distances(self) -> tuple[Distances, Distances]:
        """For each boundary point the distance to the other boundary, both masks non-empty.

        (prediction to reference, reference to prediction): 1-D, in millimetres or pixels.
        """
        return surface_distances(self.prediction, self.reference, self.spacing, self.profile)


def examine(
    prediction: Mask,
    reference: Mask,
    spacing: Sequence[float] | None = None,
    profile: Profile = "native",
) -> Case:
    """Check the input of a metric and count its pixels.

    Args:
        prediction, reference: 2-D boolean arrays of one shape.
        spacing: millimetres per (row, column) step, or None where it is unknown.
        profile: which declared definitions apply.

    Raises:
        ValueError: for anything else, in one sentence.
    """
    check_mask("prediction", prediction)
    check_mask("reference", reference)
    if prediction.shape != reference.shape:
        raise ValueError(
            f"The prediction's shape {prediction.shape} is not the reference's {reference.shape}."
        )
    if profile not in PROFILES:
        raise ValueError(f"There is no metric profile {profile!r}, only {' and '.join(PROFILES)}.")
    both = int(np.count_nonzero(prediction & reference))
    return Case(
        prediction=prediction,
        reference=reference,
        spacing=check_spacing(spacing),
        profile=profile,
        true_positives=both,
        false_positives=int(np.count_nonzero(prediction)) - both,
        false_negatives=int(np.count_nonzero(reference)) - both,
    )


def check_mask(name: str, mask: Any) -> None:
    """Raise ValueError unless `mask` is a non-empty 2-D boolean array."""
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        kind = mask.dtype if isinstance(mask, np.ndarray) else type(mask).__name__
        raise ValueError(f"The {name} must be a boolean numpy array, not {kind}.")
    if mask.ndim != 2 or mask.size == 0:
        raise ValueError(f"The {name} must be a 2-D image with pixels, not of shape {mask.shape}.")


def check_spacing(spacing: Sequence[float] | None) -> tuple[float, float] | None:
    """(row, column) spacing as two floats; ValueError unless both are positive and finite."""
    if spacing is None:
        return None
    try:
        row, column = (float(step) for step in spacing)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"The spacing must be two numbers (row, column), not {spacing!r}."
        ) from error
    if not (row > 0 and column > 0 and math.isfinite(row) and math.isfinite(column)):
        raise ValueError(f"The spacing must be positive and finite, not {spacing!r}.")
    return row, column
