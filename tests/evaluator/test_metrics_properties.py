"""Properties of the metrics that must be true of all masks, whatever the formulas are."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from evaluator.metrics import METRICS, case_metrics, dice, hd95, iou, metrics_of
from evaluator.metrics.case import percentile
from tests.support.masks import any_mask

LENGTHS = ("hd95", "hd100", "assd")
steps = st.floats(0.01, 100)
# Compiled code and its caches make a first example slow.
settings.register_profile("metrics", deadline=None, max_examples=150)
many = settings.get_profile("metrics")


@st.composite
def pairs(draw: Any, side: Any = 16) -> Any:
    shape = draw(array_shapes(min_dims=2, max_dims=2, max_side=side))
    mask = arrays(bool, shape)
    return draw(mask), draw(mask)


@st.composite
def lesions(draw: Any, side: Any = 16) -> Any:
    prediction, reference = draw(pairs(side))
    assume(prediction.any() and reference.any())
    return prediction, reference


def distances(*given: Any) -> list[float]:
    """All distances of a prediction, a reference and, where one is given, a spacing."""
    found = case_metrics(*given)
    return [found[name] for name in LENGTHS]


@many
@given(pairs(), st.none() | st.tuples(steps, steps))
def test_swapping_the_masks_changes_no_symmetric_metric(pair: Any, spacing: Any) -> None:
    prediction, reference = pair
    found = case_metrics(prediction, reference, spacing)
    swapped = case_metrics(reference, prediction, spacing)
    for name in ("dice", "iou", "hd95", "hd100", "assd", "nsd"):
        assert found[name] == pytest.approx(swapped[name], rel=1e-12)
    assert found["precision"] == swapped["recall"]


@many
@given(lesions(), *[st.integers(0, 9)] * 4)
def test_where_in_the_image_the_lesion_lies_changes_no_distance(
    pair: Any, top: Any, bottom: Any, left: Any, right: Any
) -> None:
    moved = [np.pad(mask, ((top, bottom), (left, right))) for mask in pair]
    assert distances(*moved) == distances(*pair)
    assert dice(moved[0], moved[1]) == dice(*pair)


@many
@given(lesions(), st.tuples(steps, steps))
def test_mirrors_and_transposes_change_no_distance(pair: Any, spacing: Any) -> None:
    expected = pytest.approx(distances(*pair, spacing), rel=1e-9)
    assert distances(*(mask[::-1] for mask in pair), spacing) == expected
    assert distances(*(mask[:, ::-1] for mask in pair), spacing) == expected
    assert distances(*(mask.T for mask in pair), spacing[::-1]) == expected


@many
@given(pairs(), st.tuples(steps, steps), steps)
def test_distances_scale_with_the_spacing(pair: Any, spacing: Any, factor: Any) -> None:
    scaled = tuple(factor * step for step in spacing)
    expected = [factor * distance for distance in distances(*pair, spacing)]
    assert distances(*pair, scaled) == pytest.approx(expected, rel=1e-9)
    in_pixels = [factor * distance for distance in distances(*pair)]
    assert distances(*pair, (factor, factor)) == pytest.approx(in_pixels, rel=1e-9)


@many
@given(lesions(), st.tuples(steps, steps), st.floats(1, 10))
def test_a_longer_step_shortens_no_distance(pair: Any, spacing: Any, factor: Any) -> None:
    row, column = spacing
    near = np.array(distances(*pair, spacing))
    for longer in ((row * factor, column), (row, column * factor)):
        assert (np.array(distances(*pair, longer)) >= near * (1 - 1e-9)).all()


@many
@given(pairs())
def test_equal_masks_are_perfect(pair: Any) -> None:
    mask = pair[0]
    assert distances(mask, mask) == [0, 0, 0]
    found = case_metrics(mask, mask)
    assert all(found[name] == 1 for name in ("dice", "iou", "precision", "recall", "nsd"))


@many
@given(pairs())
def test_a_further_wrong_pixel_never_helps_the_overlap(pair: Any) -> None:
    prediction, reference = pair
    wrong = np.argwhere(~prediction & ~reference)
    assume(wrong.size and reference.any())
    worse = prediction.copy()
    worse[tuple(wrong[0])] = True
    assert dice(worse, reference) <= dice(prediction, reference)
    assert iou(worse, reference) <= iou(prediction, reference)
    fewer = prediction & ~reference
    assert dice(fewer, reference) <= dice(prediction, reference)


@many
@given(pairs())
def test_metrics_keep_their_order(pair: Any) -> None:
    found = case_metrics(*pair)
    assert 0 <= found["iou"] <= found["dice"] <= 1
    assert found["iou"] == pytest.approx(found["dice"] / (2 - found["dice"]))
    assert found["hd95"] <= found["hd100"]
    assert found["assd"] <= found["hd100"]
    for metric in metrics_of("native"):
        lowest, highest = metric.range(pair[0].shape)
        assert lowest <= found[metric.name] <= highest


@pytest.mark.parametrize("direction", [(0, 1), (1, 0)])
def test_a_box_that_moves_away_is_that_far_away(direction: Any) -> None:
    reference = np.zeros((64, 64), dtype=bool)
    reference[5:15, 5:15] = True
    for step in range(45):
        moved = np.roll(reference, (step * direction[0], step * direction[1]), (0, 1))
        assert METRICS["hd100"](moved, reference) == step
        assert hd95(moved, reference) == step


@many
@given(
    arrays(float, st.integers(1, 300), elements=st.floats(0, 1e6)),
    st.floats(0, 100),
)
def test_the_percentile_is_numpys_to_the_bit(values: Any, percent: Any) -> None:
    before = values.copy()
    assert percentile(values, 95) == np.percentile(values, 95)
    assert percentile(values, percent) == np.percentile(values, percent)
    assert (values == before).all()


@many
@given(pairs())
def test_memory_layout_changes_nothing_and_the_input_stays_as_it_was(pair: Any) -> None:
    prediction, reference = pair
    expected = case_metrics(prediction, reference)
    wide = np.zeros((2 * prediction.shape[0], 3 * prediction.shape[1]), dtype=bool)
    strided = wide[::2, ::3]
    strided[...] = prediction
    frozen = reference.copy()
    frozen.flags.writeable = False
    assert case_metrics(np.asfortranarray(prediction), frozen) == expected
    assert case_metrics(strided, reference) == expected
    assert prediction.flags.writeable
    assert not frozen.flags.writeable
    loud = (prediction * np.uint8(255)).view(bool)  # true bytes other than one
    assert case_metrics(loud, reference) == expected


def test_threads_do_not_disturb_each_other() -> None:
    rng = np.random.default_rng(7)
    cases = [(any_mask(rng, (90, 120)), any_mask(rng, (90, 120))) for _ in range(60)]
    alone = [case_metrics(*case) for case in cases]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda case: case_metrics(*case), cases)) == alone
