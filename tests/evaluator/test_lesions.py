"""Detection of lesions: against panoptica, against counting, and what may never be counted."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import label

from evaluator.metrics import examine
from evaluator.metrics.kernel import connected
from evaluator.metrics.lesions import LesionCounts, count_lesions, missed
from tests.support.masks import HOSTILE, any_mask, any_shape

SIDE = 24
Box = tuple[int, int, int, int]
boxes = st.lists(
    st.tuples(*[st.integers(0, SIDE - 4)] * 2, *[st.integers(1, 9)] * 2), min_size=0, max_size=4
)


def drawn(found: list[Box]) -> np.ndarray:
    lesions = np.zeros((SIDE, SIDE), np.uint8)
    for number, (top, left, height, width) in enumerate(found, start=1):
        lesions[top : top + height, left : left + width] = number
    return lesions


def naive(predicted: np.ndarray, lesions: np.ndarray) -> LesionCounts:
    """Every area with every lesion, pixel by pixel in sets."""
    areas, count = label(predicted, np.ones((3, 3)))
    of = {n: set(zip(*np.nonzero(areas == n), strict=True)) for n in range(1, count + 1)}
    truth = [set(zip(*np.nonzero(lesions == n), strict=True)) for n in set(lesions.flat) - {0}]
    matches = sum(2 * len(a & b) > len(a | b) for a in of.values() for b in truth)
    return LesionCounts(len(truth), matches, count - matches)


@given(boxes, boxes)
def test_counts_agree_with_sets_of_pixels(predicted: list[Box], reference: list[Box]) -> None:
    mask, lesions = drawn(predicted) > 0, drawn(reference)
    assert count_lesions(mask, lesions) == naive(mask, lesions)


def require_scipys_areas(mask: np.ndarray) -> None:
    case = examine(mask, mask)
    *_, top, bottom, left, right = case.survey
    areas = np.empty((bottom - top, right - left), np.int32)
    count = connected(case.words[0], (top, bottom, left, right), areas)
    expected, number = label(mask, np.ones((3, 3)))
    assert count == number
    np.testing.assert_array_equal(areas, expected[top:bottom, left:right])


@pytest.mark.parametrize("side", [1, 2, 63, 64, 65, 200])
def test_no_hostile_mask_has_other_areas_than_scipys(side: int) -> None:
    for make in HOSTILE.values():
        if (mask := make(side)).any():
            require_scipys_areas(mask)


def test_no_drawn_mask_has_other_areas_than_scipys() -> None:
    rng = np.random.default_rng(20261128)
    for _ in range(500):
        require_scipys_areas(any_mask(rng, any_shape(rng, 150)))


def test_a_mask_from_side_to_side_of_a_decoded_label_does_not_stop_the_scorer() -> None:
    """Then what is counted is a view of the label, which a decoder gives as read-only."""
    mask, lesions = np.ones((SIDE, SIDE), np.bool_), drawn([(2, 2, 6, 6), (12, 12, 5, 5)])
    lesions.flags.writeable = False
    assert count_lesions(mask, lesions) == naive(mask, lesions) == LesionCounts(2, 0, 1)


# (lesions, found, false) by panoptica 2.1.7, of the case that `seeded` draws from each number:
# `NaiveThresholdMatching` at an IoU just above 0.5. Its pins do not fit this project's.
PANOPTICA = (
    "311 101 303 301 201 203 101 301 202 101 302 000 201 311 000 302 220 211 302 202 "
    "302 102 302 000 102 202 311 001 202 304 000 202 311 302 000 000 101 000 000 300"
)


def seeded(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A predicted mask and lesions: moved by a few pixels, or drawn anew."""
    random = np.random.default_rng(seed)

    def some() -> np.ndarray:
        found: list[Box] = []
        for _ in range(random.integers(0, 4)):
            top, left = random.integers(0, 16, 2)
            height, width = random.integers(3, 9, 2)
            found.append((int(top), int(left), int(height), int(width)))
        return drawn(found)

    lesions = some()
    moved = np.roll(lesions, random.integers(-2, 3, 2), (0, 1)) if seed % 3 else some()
    return moved > 0, lesions


@pytest.mark.parametrize(("seed", "expected"), list(enumerate(PANOPTICA.split())))
def test_counts_are_panopticas(seed: int, expected: str) -> None:
    found = count_lesions(*seeded(seed))
    assert f"{found.lesions}{found.found}{found.false}" == expected


def test_lesions_that_touch_are_not_one() -> None:
    lesions = np.zeros((8, 8), np.uint8)
    lesions[2:6, 0:4], lesions[2:6, 4:8] = 1, 2
    apart = lesions.copy()
    apart[:, 3:5] = 0
    assert count_lesions(apart > 0, lesions) == LesionCounts(2, 2, 0)
    assert count_lesions(lesions > 0, lesions) == LesionCounts(2, 0, 1)  # one area over both


def test_nothing_is_found_where_nothing_was_handed_in() -> None:
    lesions = drawn([(0, 0, 3, 3), (10, 10, 3, 3)])
    assert missed(lesions) == LesionCounts(2, 0, 1)
    assert missed(np.zeros((4, 4), np.uint8)) == LesionCounts(0, 0, 1)
    empty = np.zeros((SIDE, SIDE), bool)
    assert count_lesions(empty, lesions) == LesionCounts(2, 0, 0)
    assert count_lesions(empty, np.zeros((SIDE, SIDE), np.uint8)) == LesionCounts(0, 0, 0)


def test_half_of_the_union_is_no_match() -> None:
    lesions = drawn([(0, 0, 2, 4)])
    assert count_lesions(drawn([(0, 0, 2, 2)]) > 0, lesions).found == 0
    assert count_lesions(drawn([(0, 0, 2, 3)]) > 0, lesions).found == 1


def test_no_number_of_areas_and_lesions_makes_a_large_table() -> None:
    lesions = np.repeat(np.arange(256, dtype=np.uint8), 8)[:, None].repeat(2048, axis=1)
    areas = np.zeros(lesions.shape, bool)
    areas[::2, ::2] = True  # a table of all pairs would need a gigabyte
    tracemalloc.start()
    found = count_lesions(areas, lesions)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == LesionCounts(255, 0, 1024 * 1024)
    assert peak < 16 * areas.size
