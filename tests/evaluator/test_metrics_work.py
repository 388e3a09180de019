"""Masks that a participant chooses: none makes the scorer work more than linearly in the pixels."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from evaluator.metrics import examine, hd95
from evaluator.metrics.kernel import BLOCK, SPREAD, distances
from evaluator.metrics.selection import selected
from tests.support.masks import HOSTILE, any_mask, transform_distances

# Pixels read or compared for each pixel of the two masks' box, at most: a row is read twice for its
# few points and two blocks more, once for its squares, and in each block once and both ways as far
# as distances spread. Blocks are bounded in halvings, each of which reads the row once and a
# block for each bound, and are compared with what lies between their bounds.
ONCE = 4 + 1 + (2 * (SPREAD + 1) + 1) + 5 + 2


def most(width: int) -> float:
    return ONCE + max(0.0, np.ceil(np.log2(width / BLOCK)))


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
    assert max(taken) <= most(side), dict(zip(product(HOSTILE, HOSTILE), taken, strict=True))


@pytest.mark.parametrize("spacing", [(0.1, 0.1), (0.3, 0.1), (0.05, 2.0)])
@pytest.mark.parametrize("eight", [False, True])
def test_no_spacing_or_profile_takes_more_work(spacing: Any, eight: bool) -> None:
    masks = [make(96) for make in HOSTILE.values()]
    assert max(work(*pair, spacing, eight) for pair in product(masks, masks)) <= most(96)


def test_no_drawn_pair_takes_more_than_linear_work() -> None:
    rng = np.random.default_rng(20261127)
    for _ in range(500):
        shape = (int(rng.integers(1, 120)), int(rng.integers(1, 120)))
        assert work(any_mask(rng, shape), any_mask(rng, shape)) <= most(shape[1])


def ordered(kind: str, size: int) -> Any:
    """Numbers in an order, or with repeats, that selection by pivots or by a sample is slow on."""
    rng = np.random.default_rng(size)
    return {
        "one": lambda: np.ones(size),
        "two": lambda: np.arange(size) % 2.0,
        "rising": lambda: np.arange(size, dtype=float),
        "falling": lambda: np.arange(size, 0, -1, dtype=float),
        "saw": lambda: np.sqrt(np.arange(size) % 1024),
        "one in a stride": lambda: np.where(np.arange(size) % max(1, size // 257) == 0, 0.0, 9.5),
        "few": lambda: np.sqrt(rng.integers(0, 5, size).astype(float)),
        "drawn": lambda: rng.random(size),
        "far apart": lambda: 10.0 ** rng.uniform(-320, 308, size),
    }[kind]()


@pytest.mark.parametrize("size", [1, 2, 256, 1028, 1029, 5000, 20011])
@pytest.mark.parametrize(
    "kind",
    ["one", "two", "rising", "falling", "saw", "one in a stride", "few", "drawn", "far apart"],
)
def test_no_order_of_the_values_changes_a_rank(kind: str, size: int) -> None:
    values = ordered(kind, size)
    expected = [*np.sort(values), np.inf]
    for rank in {0, size // 2, int((size - 1) * 0.95), size - 1}:
        assert selected(values, rank) == (expected[rank], expected[rank + 1])


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
