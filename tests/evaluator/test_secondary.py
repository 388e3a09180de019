"""Relative distance and calibration: against MONAI and scikit-learn, and at the edges."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from monai.metrics import CalibrationErrorMetric
from sklearn.metrics import brier_score_loss

from evaluator.metrics import hd95
from evaluator.metrics.secondary import (
    BINS,
    SECONDARY,
    UNKNOWN,
    calibration,
    equivalent_diameter,
    hd95_relative,
)
from evaluator.predictions import LEVELS, level

maps = arrays(np.uint8, (7, 9), elements=st.integers(0, 255))
masks = arrays(np.bool_, (7, 9))


def naive_ece(levels: np.ndarray, reference: np.ndarray) -> float:
    """Bin by bin, in fractions."""
    bins: dict[int, list[tuple[Fraction, int]]] = {}
    for value, truth in zip(levels.ravel().tolist(), reference.ravel().tolist(), strict=True):
        p = Fraction(value, 255)
        bins.setdefault(min(math.floor(10 * p), 9), []).append((p, int(truth)))
    gaps = (abs(sum((p - y for p, y in found), Fraction(0))) for found in bins.values())
    return float(sum(gaps, Fraction(0)) / levels.size)


@given(maps, masks)
def test_calibration_is_that_of_sklearn_and_of_counting(
    levels: np.ndarray, reference: np.ndarray
) -> None:
    found = calibration(levels, reference)
    brier = brier_score_loss(reference.ravel(), levels.ravel() / 255, pos_label=True)
    assert found["brier"] == pytest.approx(brier, rel=1e-12, abs=1e-15)
    assert found["ece"] == pytest.approx(naive_ece(levels, reference), rel=1e-12, abs=1e-15)
    assert found.keys() == UNKNOWN.keys() and all(0 <= value <= 1 for value in found.values())


@pytest.mark.parametrize("seed", range(8))
def test_the_calibration_error_is_monais(seed: int) -> None:
    """Where no level is at the edge of a bin: there MONAI's single precision decides."""
    random = np.random.default_rng(seed)
    inner = np.setdiff1d(np.arange(256), [0, 51, 102, 153, 204, 255])
    levels = random.choice(inner, (24, 31)).astype(np.uint8)
    reference = random.random(levels.shape) < levels / (200 + 20 * seed)
    metric = CalibrationErrorMetric(num_bins=BINS, include_background=True)
    pair = (torch.from_numpy(each)[None, None].float() for each in (levels / 255, reference))
    metric(*pair)
    expected = torch.as_tensor(metric.aggregate()).item()
    assert calibration(levels, reference)["ece"] == pytest.approx(expected, abs=1e-5)


def test_calibration_at_the_edges() -> None:
    sure, none = np.full((4, 5), 255, np.uint8), np.zeros((4, 5), np.uint8)
    empty, whole = np.zeros((4, 5), bool), np.ones((4, 5), bool)
    for levels, reference in ((none, empty), (sure, whole)):
        assert calibration(levels, reference) == {"brier": 0.0, "ece": 0.0}
    for levels, reference in ((sure, empty), (none, whole)):
        assert calibration(levels, reference) == UNKNOWN == {"brier": 1.0, "ece": 1.0}
    half = np.array([[True, False] * 5])  # p is right on the average, and wrong in each pixel
    found = calibration(np.full((1, 10), 128, np.uint8), half)
    assert found["ece"] == pytest.approx(abs(128 / 255 - 0.5)) and found["brier"] > 0.249


@pytest.mark.parametrize("spacing", [None, (0.1, 0.1), (0.2, 0.05)])
def test_a_distance_in_diameters_has_no_unit(spacing: tuple[float, float] | None) -> None:
    rows, columns = np.ogrid[:120, :120]
    reference = (rows - 60) ** 2 + (columns - 60) ** 2 <= 30**2
    moved = np.roll(reference, 6, axis=0)
    found = hd95_relative(hd95(moved, reference, spacing), int(reference.sum()), spacing)
    assert found is not None
    if spacing is None or spacing[0] == spacing[1]:
        assert found == pytest.approx(6 / 60, rel=0.05)  # a disk: six pixels of sixty
    assert equivalent_diameter(314) == pytest.approx(2 * math.sqrt(314 / math.pi))
    assert equivalent_diameter(100, (0.5, 2.0)) == equivalent_diameter(100)


def test_relative_distance_at_the_edges_is_that_of_hd95() -> None:
    lesion, empty = np.zeros((30, 40), bool), np.zeros((30, 40), bool)
    lesion[10:14, 10:14] = True
    diameter = equivalent_diameter(16)
    for prediction, reference, expected in (
        (empty, lesion, 50 / diameter),  # the diagonal
        (lesion, lesion, 0.0),
        (lesion, empty, None),
        (empty, empty, None),
    ):
        found = hd95_relative(hd95(prediction, reference), int(reference.sum()))
        assert found == (None if expected is None else pytest.approx(expected))


def test_no_secondary_number_ranks_or_is_called_twice() -> None:
    from evaluator.documents.scores import RANKED  # noqa: PLC0415
    from harness.ranking.metrics import BY_KEY, METRICS  # noqa: PLC0415

    assert not set(SECONDARY) & {*RANKED, *(metric.key for metric in METRICS)}
    assert len({metric.label for metric in BY_KEY.values()}) == len(BY_KEY)


@given(st.floats(0, 1), st.floats(0.001, 0.999))
def test_no_rounding_puts_a_probability_on_the_wrong_side(p: float, threshold: float) -> None:
    is_above = np.float32(p) > np.float32(threshold)
    assert (level(p) >= level(threshold)) if is_above else (level(p) <= level(threshold))
    assert (level(-0.05), level(0), level(1), level(1.05)) == (0, 0, LEVELS, LEVELS)
