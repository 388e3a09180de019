"""Shared parts of all metrics of one case: pixel counts and two lists of boundary distances.

A `Case` is made once per pair of masks. Both masks are read once, for the counts; the distances
are found when the first metric asks for them, and never twice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, cached_property
from types import ModuleType
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import BusbenchError, Code

Profile = Literal["native", "awesome-bus-2025"]
PROFILES: tuple[Profile, ...] = get_args(Profile)
RENAMED: dict[str, Profile] = {"seed": "awesome-bus-2025"}  # a profile's name until 0.1
MAX_SIDE = 16000  # pixels; keeps every sum of squares in the compiled loops within 32 bits
MOST_STRETCHED = 1_000_000  # rows to columns; squares of it are far from any limit of a float
Mask = NDArray[np.bool_]
Distances = NDArray[np.float64]


class Situation(StrEnum):
    """The row of the edge table that a case belongs to: the first that fits."""

    BOTH_EMPTY = "both empty"
    PREDICTION_EMPTY = "prediction empty"
    REFERENCE_EMPTY = "reference empty"
    REFERENCE_WHOLE = "reference whole"
    ORDINARY = "ordinary"


@dataclass(frozen=True, eq=False)
class Case:
    """One prediction beside its reference; make it with `examine`.

    Attributes:
        shape: height and width in pixels.
        words: prediction and reference as the compiled loops pack them.
        survey: the counts and the box that reading them gave; see `packing.survey`.
        spacing: millimetres per (row, column) step, or None for pixels.
    """

    shape: tuple[int, int]
    words: NDArray[np.uint64]
    survey: tuple[int, ...]
    spacing: tuple[float, float] | None
    profile: Profile

    @property
    def pixels(self) -> int:
        """The image's pixels."""
        return self.shape[0] * self.shape[1]

    @property
    def predicted(self) -> int:
        """The prediction's foreground pixels."""
        return self.survey[0]

    @property
    def lesion(self) -> int:
        """The reference's foreground pixels."""
        return self.survey[1]

    @property
    def true_positives(self) -> int:
        """Foreground in both masks."""
        return self.survey[2]

    @property
    def false_positives(self) -> int:
        """Foreground in the prediction alone."""
        return self.predicted - self.true_positives

    @property
    def false_negatives(self) -> int:
        """Foreground in the reference alone."""
        return self.lesion - self.true_positives

    @property
    def true_negatives(self) -> int:
        """Background in both masks."""
        return self.pixels - self.predicted - self.false_negatives

    @property
    def situation(self) -> Situation:
        """The case's row in the edge table."""
        if self.predicted == 0:
            return Situation.PREDICTION_EMPTY if self.lesion else Situation.BOTH_EMPTY
        if self.lesion == 0:
            return Situation.REFERENCE_EMPTY
        if self.lesion == self.pixels:
            return Situation.REFERENCE_WHOLE
        return Situation.ORDINARY

    @cached_property
    def distances(self) -> tuple[Distances, Distances]:
        """For each boundary point the distance to the other boundary; neither mask is empty.

        (prediction to reference, reference to prediction): 1-D, in millimetres or pixels.
        """
        ours, theirs, _ = loops().distances(
            self.words,
            self.survey,
            self.shape[1],
            self.spacing or (1.0, 1.0),
            self.profile == "awesome-bus-2025",
        )
        return ours, theirs


def examine(
    prediction: Mask,
    reference: Mask,
    spacing: Sequence[float] | None = None,
    *,
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
    masks = _checked("prediction", prediction), _checked("reference", reference)
    if prediction.shape != reference.shape:
        raise ValueError(
            f"The prediction's shape {prediction.shape} is not the reference's {reference.shape}."
        )
    if profile not in PROFILES:
        if profile in RENAMED:
            raise ValueError(f"The metric profile {profile} is called {RENAMED[profile]} now.")
        raise ValueError(f"There is no metric profile {profile!r}, only {' and '.join(PROFILES)}.")
    words, survey = loops().survey(*masks, profile == "awesome-bus-2025")
    return Case(prediction.shape, words, survey, check_spacing(spacing), profile)


def percentile(values: Distances, percent: float) -> float:
    """`numpy.percentile(values, percent)` of a 1-D array, the same to the bit but sooner.

    In time linear in the values, however they are ordered or repeated.

    Args:
        values: float64, none negative or NaN.
    """
    position = (values.size - 1) * (percent / 100)
    rank = int(position)
    below, above = loops().selected(values, rank)
    if rank + 1 == values.size:
        return float(below)
    share, gap = position - rank, above - below
    return float(above - gap * (1 - share) if share >= 0.5 else below + gap * share)


def check_spacing(spacing: Sequence[float] | None) -> tuple[float, float] | None:
    """(row, column) spacing as two floats; ValueError unless positive, finite and of one kind."""
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
    if not 1 / MOST_STRETCHED <= row / column <= MOST_STRETCHED:
        raise ValueError(
            f"The steps of a spacing may not differ {MOST_STRETCHED:,}-fold, as in {spacing!r}."
        )
    return row, column


def _checked(name: str, mask: Any) -> NDArray[np.uint8]:
    """The mask as the compiled loops take it, or ValueError unless it is a 2-D boolean image."""
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
        kind = mask.dtype if isinstance(mask, np.ndarray) else type(mask).__name__
        raise ValueError(f"The {name} must be a boolean numpy array, not {kind}.")
    if mask.ndim != 2 or mask.size == 0 or max(mask.shape) > MAX_SIDE:
        raise ValueError(
            f"The {name} must be a 2-D image of 1 to {MAX_SIDE} pixels a side, "
            f"not of shape {mask.shape}."
        )
    pixels = np.ascontiguousarray(mask).view(np.uint8)
    pixels.flags.writeable = False  # this view alone: one compiled signature then serves all masks
    return pixels


@cache
def loops() -> ModuleType:
    """The compiled loops, loaded when the first masks are measured.

    Numba is heavy and comes with the evaluator's extra; who only asks which metrics there are, as
    the harness does for its boards, needs neither.
    """
    try:
        from evaluator.metrics import kernel  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise BusbenchError(
            Code.EXTRA_MISSING,
            f"Metrics cannot be computed without {error.name}.",
            "Run pip install -e '.[evaluator]' in your checkout of BUSBench.",
        ) from error
    return kernel
