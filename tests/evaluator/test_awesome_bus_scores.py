"""Scores by the Awesome-BUS benchmark's definitions: its grid, its rule for masks, its means."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.documents.scores import RANKED
from evaluator.letterbox import letterbox
from evaluator.metrics import METRICS
from evaluator.scoring import awesome_bus
from reference_models.data import RESAMPLES
from reference_models.data import letterbox as as_trained

SIDES = st.integers(1, 1600)


@given(SIDES, SIDES, st.integers(0, 2**32 - 1))
def test_a_mask_on_the_grid_never_differs_from_opencvs(height: int, width: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    spot = letterbox(height, width, awesome_bus.GRID)
    expected = np.zeros(awesome_bus.GRID, np.uint8)
    expected[spot.top : spot.top + spot.height, spot.left : spot.left + spot.width] = cv2.resize(
        mask.astype(np.uint8), (spot.width, spot.height), interpolation=cv2.INTER_NEAREST
    )
    assert np.array_equal(awesome_bus.on_grid(mask), expected > 0)


def test_no_size_up_to_that_of_a_scanner_is_rounded_otherwise_than_by_opencv() -> None:
    """In a few of a hundred sizes i * old // new is another pixel, so each is tried."""
    for old in range(1, 1300):
        column = np.arange(old, dtype=np.float32)[:, None]
        new = letterbox(old, 1000, awesome_bus.GRID).height
        found = cv2.resize(column, (1, new), interpolation=cv2.INTER_NEAREST)[:, 0]
        assert np.array_equal(found, awesome_bus.nearest(old, new)), old


@given(SIDES, SIDES)
def test_a_reference_never_lies_elsewhere_than_in_training_by_that_profile(
    height: int, width: int
) -> None:
    mask = np.random.default_rng(height).random((height, width)) < 0.5
    trained = as_trained(mask, awesome_bus.GRID, RESAMPLES["lanczos4"][1])
    assert np.array_equal(awesome_bus.on_grid(mask), trained > 0)


def values(dice: float, hd95: float) -> dict[str, float]:
    return {"dice": dice, "iou": dice / (2 - dice), "hd95": hd95}


def test_a_dropped_case_never_counts_in_hd95_and_always_in_dice() -> None:
    cases = [values(1, 4), values(0, math.nan), values(0.5, 8), values(0.25, 2)]
    found = awesome_bus.summarise(cases, folds=2)
    assert found.dropped == 1
    assert found.metrics["hd95"].folds == (4, 5)
    assert found.metrics["dice"].folds == (0.5, 0.375)
    assert found.metrics["dice"].std == pytest.approx(np.std([0.5, 0.375], ddof=1))


def test_a_mean_of_nothing_is_never_a_number() -> None:
    cases = [values(0, math.nan), values(0.5, 8)]
    found = awesome_bus.summarise(cases, folds=2)  # the first fold has no HD95 left
    assert found.metrics.keys() == {"dice", "iou"} and found.dropped == 1


@pytest.mark.parametrize("name", RANKED)
def test_values_never_differ_from_the_profile_on_opencvs_masks(name: str) -> None:
    rows, columns = np.ogrid[:300, :500]
    prediction: Any = (rows - 150) ** 2 + (columns - 240) ** 2 < 80**2
    reference: Any = (rows - 160) ** 2 + (columns - 260) ** 2 < 70**2
    nearest = RESAMPLES["lanczos4"][1]
    small = [as_trained(mask, (224, 224), nearest) > 0 for mask in (prediction, reference)]
    expected = METRICS[name](small[0], small[1], profile="awesome-bus-2025")
    assert awesome_bus.values(prediction, reference)[name] == expected
