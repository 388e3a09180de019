"""Numbers beside the metrics of masks: distance in lesions, and how true probabilities are.

Each is per case first, like any metric. What it is at the edges is in `SECONDARY`; none of them
ranks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluator.predictions import LEVELS

BINS = 10  # of equal width, of the calibration error
Levels = NDArray[np.uint8]


@dataclass(frozen=True)
class Secondary:
    """How a secondary number is shown, and what it is at the edges.

    Attributes:
        without_lesion: of an image, or a group, without a lesion.
        missing: of an output that is missing or invalid.
    """

    title: str
    higher_is_better: bool
    without_lesion: str
    missing: str
    highest: float = math.inf

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest mean that there can be."""
        return 0.0, self.highest


NONE, FORMULA = "none", "formula"
SECONDARY: Mapping[str, Secondary] = {
    "hd95_relative": Secondary("HD95 in lesion diameters", False, NONE, "diagonal / diameter"),
    "lesion_sensitivity": Secondary("Lesions found", True, NONE, "none found", 1.0),
    "false_lesions": Secondary("False lesions an image", False, FORMULA, "one"),
    "lesion_f1": Secondary("Lesion F1", True, NONE, "none found, one false", 1.0),
    "brier": Secondary("Brier score", False, FORMULA, "1", 1.0),
    "ece": Secondary("Calibration error (ECE)", False, FORMULA, "1", 1.0),
}
CALIBRATION = ("brier", "ece")
UNKNOWN: Mapping[str, float] = dict.fromkeys(CALIBRATION, 1.0)  # of a map that is missing


def equivalent_diameter(pixels: int, spacing: Sequence[float] | None = None) -> float:
    """The diameter of the disk that has a lesion's area, 2·√(area / π).

    Args:
        pixels: of all lesions of an image, above 0.
        spacing: millimetres per (row, column) step, or None for pixels.
    """
    row, column = spacing or (1.0, 1.0)
    return 2 * math.sqrt(pixels * row * column / math.pi)


def hd95_relative(hd95: float, pixels: int, spacing: Sequence[float] | None = None) -> float | None:
    """HD95 over the equivalent diameter of the lesion; None without a lesion.

    Its edges are those of HD95: an empty prediction is the image's diagonal away.

    Args:
        hd95: in millimetres where there is a spacing, else in pixels.
        pixels: of the reference.
    """
    return hd95 / equivalent_diameter(pixels, spacing) if pixels else None


def calibration(levels: Levels, reference: NDArray[np.bool_]) -> dict[str, float]:
    """Brier score and expected calibration error of the pixels of one image.

    Brier: the mean of (p - y)² (Brier, Monthly Weather Review 78, 1950). ECE: over `BINS` bins of
    probability, |mean p - mean y| weighed by their pixels (Naeini et al., AAAI 2015); bins contain
    their lower end.

    Args:
        levels: 255 p, rounded, (H, W): p is the probability of lesion.
        reference: y, (H, W).
    """
    counts = np.bincount(levels.ravel() + 256 * reference.ravel().astype(np.intp), minlength=512)
    background, lesion = counts.reshape(2, 256)
    of_level = np.arange(256)
    squares = background * of_level**2 + lesion * (LEVELS - of_level) ** 2
    bins = np.minimum(BINS * of_level // LEVELS, BINS - 1)
    # 255 times the gap between mean p and mean y of each bin, times its pixels: whole numbers
    gaps = np.bincount(bins, (background + lesion) * of_level - LEVELS * lesion, minlength=BINS)
    return {
        "brier": float(squares.sum() / (LEVELS**2 * levels.size)),
        "ece": float(np.abs(gaps).sum() / (LEVELS * levels.size)),
    }
