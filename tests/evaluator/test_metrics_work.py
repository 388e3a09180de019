"""Masks that a participant chooses: none makes the scorer work more than linearly in the pixels."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from evaluator.metrics import examine, hd95
from evaluator.metrics.kernel import distances
from tests.support.masks import HOSTILE, any_mask, transform_distances

# Pixels read or compared for each pixel of the two masks' box, at most: a row is read four times
# for its few points, spread over eight times, read four times for the few that are further away,
# and drawn and followed once each as an envelope.
MOST = 4 + 8 + 4 + 6


def work(prediction: Any, reference: Any, spacing: Any = (1.0, 1.0), eight: Any = False) -> float:
    """What finding the distances both ways took, for each pixel of the image and each way."""
    profile: Any = "awesome-bus-2025" if eight else "native"
    case = examine(prediction, reference, spacing, profile=profile)
    height, width = case.shape
    found: Any = case.survey
    *_, read = distances(case.words, found, width, spacing, eight)
    return float(read / (2 * height * (width + 16)))


@pytest.mark.parametrize("side", [17, 64, 200, 400])
def test_no_pair_of_masks_takes_more_than_linear_work(side: int) -> None:
    masks = [make(side) for make in HOSTILE.values()]
    taken = [work(*pair) for pair in product(masks, masks)]
    assert max(taken) <= MOST, dict(zip(product(HOSTILE, HOSTILE), taken, strict=True))


@pytest.mark.parametrize("spacing", [(0.1, 0.1), (0.3, 0.1), (0.05, 2.0)])
@pytest.mark.parametrize("eight", [False, True])
def test_no_spacing_or_profile_takes_more_work(spacing: Any, eight: bool) -> None:
    masks = [make(96) for make in HOSTILE.values()]
    assert max(work(*pair, spacing, eight) for pair in product(masks, masks)) <= MOST


def test_no_drawn_pair_takes_more_than_linear_work() -> None:
    rng = np.random.default_rng(20261127)
    for _ in range(500):
        shape = tuple(rng.integers(1, 120, 2))
        assert work(any_mask(rng, shape), any_mask(rng, shape)) <= MOST


@pytest.mark.parametrize("spacing", [None, (0.3, 0.1)])
def test_no_shortcut_changes_a_distance(spacing: Any) -> None:
    masks = {name: make(97) for name, make in HOSTILE.items()}
    for (one, prediction), (other, reference) in product(masks.items(), masks.items()):
        expected = transform_distances(prediction, reference, spacing)
        found = examine(prediction, reference, spacing).distances
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, err_msg=f"{one} and {other}")
        assert hd95(prediction, reference, spacing) == pytest.approx(
            max(np.percentile(each, 95) for each in expected), rel=1e-12
        )
