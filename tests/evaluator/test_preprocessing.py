"""Preprocessing and the way back: no shift may hide in them."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluator.contract import InputSpec, OutputSpec
from evaluator.preprocessing import place, to_input, to_mask

SIDES = st.integers(40, 700)


def spec(**changes: object) -> InputSpec:
    return InputSpec.model_validate({"height": 224, "width": 224} | changes)


@given(height=SIDES, width=SIDES)
def test_a_letterboxed_image_never_leaves_the_canvas(height: int, width: int) -> None:
    spot = place(height, width, spec())
    assert spot.top >= 0 and spot.top + spot.height <= 224
    assert spot.left >= 0 and spot.left + spot.width <= 224
    assert max(spot.height, spot.width) == 224
    assert abs(spot.top - (224 - spot.top - spot.height)) <= 1


@pytest.mark.parametrize("rule", ["letterbox", "stretch"])
@settings(max_examples=40, deadline=None)
@given(
    height=SIDES,
    width=SIDES,
    centre=st.tuples(st.floats(0.3, 0.7), st.floats(0.3, 0.7)),
    radius=st.floats(0.1, 0.25),
)
def test_a_perfect_network_is_not_shifted(rule, height, width, centre, radius) -> None:
    rows, columns = np.mgrid[:height, :width]
    distance = np.hypot(rows - centre[0] * height, columns - centre[1] * width)
    mask = distance <= max(20.0, radius * min(height, width))
    if mask.sum() <= 1000 or mask.all():
        return
    inputs = spec(resize=rule)
    seen = to_input(mask.astype(np.uint8) * 255, inputs)[0]
    back = to_mask(seen, mask.shape, inputs, OutputSpec(kind="probabilities"))
    assert 2 * (back & mask).sum() / (back.sum() + mask.sum()) > 0.98


def test_resampling_is_not_half_a_pixel_off_simpleitk() -> None:
    image = np.random.default_rng(1).integers(0, 256, (112, 112), np.uint8)
    ours = to_input(image, spec(resize="stretch"))[0]
    grid = sitk.Image(224, 224, sitk.sitkFloat32)
    grid.SetSpacing((0.5, 0.5))
    grid.SetOrigin((-0.25, -0.25))  # ITK's origin is the centre of the first pixel
    source = sitk.GetImageFromArray(image.astype(np.float32) / 255.0)
    theirs = sitk.GetArrayFromImage(sitk.Resample(source, grid, sitk.Transform(), sitk.sitkLinear))
    inner = (slice(2, -2), slice(2, -2))  # ITK puts zeros outside, Pillow repeats the border
    assert np.abs(ours - theirs)[inner].max() < 0.004  # Pillow rounds to 8 bits in between


def test_normalisation_and_channels_are_as_declared() -> None:
    image = np.full((224, 224), 255, np.uint8)
    found = to_input(image, spec(channels="rgb", mean=0.5, std=0.25))
    assert found.shape == (3, 224, 224) and found.dtype == np.float32
    assert np.allclose(found, 2.0)


def test_a_value_at_the_threshold_is_background() -> None:
    flat = np.zeros((224, 224), np.float32)
    assert not to_mask(flat, (30, 30), spec(), OutputSpec(kind="logits")).any()
    assert to_mask(flat + 0.01, (30, 30), spec(), OutputSpec(kind="logits")).all()


def test_huge_logits_do_not_overflow() -> None:
    flat = np.full((224, 224), -3e38, np.float32)
    with np.errstate(all="raise"):
        assert not to_mask(flat, (30, 30), spec(), OutputSpec()).any()
