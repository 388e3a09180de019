"""Preprocessing and the way back: no shift may hide in them."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from evaluator.consistency import transform_case
from evaluator.documents.input_spec import InputSpec, Resample
from evaluator.documents.sealed import SealedCase
from evaluator.documents.submission import OutputKind, OutputSpec
from evaluator.inference.outputs import find_trouble
from evaluator.inference.placement import place
from evaluator.inference.preprocessing import (
    to_input,
    to_inputs,
    to_packed_masks,
    view_of,
    window_of,
)
from evaluator.predictions import packed_bytes, unpack
from tests.support.inference import mask_of

SIDES = st.integers(40, 700)
RULES = pytest.mark.parametrize("rule", ["letterbox", "stretch"])


def spec(**changes: object) -> InputSpec:
    return InputSpec.model_validate({"height": 224, "width": 224, "resize": "letterbox"} | changes)


@settings(deadline=None, max_examples=60)
@given(
    sides=st.lists(st.tuples(st.integers(5, 90), st.integers(5, 90)), min_size=1, max_size=5),
    rule=st.sampled_from(["letterbox", "stretch"]),
    resample=st.sampled_from(get_args(Resample)),
    seed=st.sampled_from([None, "0" * 64, "7" * 64]),
    draw=st.integers(0, 99),
)
def test_no_bit_of_an_input_depends_on_the_images_it_is_made_with(
    sides: list[tuple[int, int]], rule: str, resample: Resample, seed: str | None, draw: int
) -> None:
    """Images that lie one after the other in an archive become what each becomes when cut out."""
    pixels = np.random.default_rng(draw).integers(0, 256, 90_000, np.uint8)
    cases = [
        SealedCase(case_id=f"c{number}", height=height, width=width, file="f")
        for number, (height, width) in enumerate(sides)
    ]
    begins = [9000 * number + 7 for number in range(len(cases))]
    inputs = spec(height=32, width=48, resize=rule, resample=resample, channels="rgb", mean=0.1)
    windows = [window_of(case, at, seed) for case, at in zip(cases, begins, strict=True)]
    spots = [place(height, width, inputs) for _, height, width, _, _ in windows]
    made = to_inputs(pixels, windows, spots, spec=inputs)
    for case, at, window, found in zip(cases, begins, windows, made, strict=True):
        image = pixels[at : at + case.height * case.width].reshape(case.height, case.width)
        cut = image if seed is None else transform_case(seed, case, image)[1]
        assert np.array_equal(view_of(pixels, window), cut)
        assert np.array_equal(found, to_input(cut, inputs))


@settings(deadline=None, max_examples=60)
@given(
    sides=st.lists(st.tuples(st.integers(1, 90), st.integers(1, 90)), min_size=1, max_size=5),
    kind=st.sampled_from(get_args(OutputKind)),
    draw=st.integers(0, 99),
)
def test_no_bit_of_a_mask_depends_on_the_maps_it_is_packed_with(
    sides: list[tuple[int, int]], kind: OutputKind, draw: int
) -> None:
    """Among them are empty ones, as most of a track's normal cases are."""
    inputs = spec(height=32, width=48)
    output = OutputSpec(kind=kind, threshold=0.5 if kind == "mask" else 0.4)
    rng = np.random.default_rng(draw)
    maps = rng.normal(0, 3, (len(sides), output.maps, 32, 48)).astype(np.float32)
    if kind in ("probabilities", "mask"):
        maps = (maps > 1).astype(np.float32)
    maps[::2, -1] = -9 if kind in ("logits", "softmax") else 0
    spots = [place(*size, inputs) for size in sides]
    packed = to_packed_masks(maps, sides, spots, spec=output)
    for each, size, found in zip(maps, sides, packed, strict=True):
        assert np.array_equal(unpack(found, *size), mask_of(each, size, inputs, outputs=output))
        assert len(found) == packed_bytes(*size)


@given(height=SIDES, width=SIDES)
def test_a_letterboxed_image_never_leaves_the_canvas(height: int, width: int) -> None:
    spot = place(height, width, spec())
    assert spot.top >= 0 and spot.top + spot.height <= 224
    assert spot.left >= 0 and spot.left + spot.width <= 224
    assert max(spot.height, spot.width) == 224
    assert abs(spot.top - (224 - spot.top - spot.height)) <= 1


# --- an independent reference: bilinear with half-pixel centres, one weight after the other ------


def line_weights(old: int, new: int, shift: float = 0.0) -> NDArray[np.float64]:
    """(new, old): what each old pixel gives to each new one.

    A triangle around the new pixel's centre, one old pixel wide to each side, or one new pixel
    where there are fewer of them; what falls outside of the image is shared among the rest.
    """
    table = np.zeros((new, old))
    for i in range(new):
        centre = (i + 0.5) * old / new + shift
        reach = max(1.0, old / new)
        for j in range(old):
            table[i, j] = max(0.0, 1 - abs(j + 0.5 - centre) / reach)
        table[i] /= table[i].sum()
    return table


def resampled(
    image: NDArray[np.generic], height: int, width: int, shift: float = 0.0
) -> NDArray[np.float64]:
    """`image` (H, W) at (height, width), in float64."""
    rows = line_weights(image.shape[0], height, shift)
    columns = line_weights(image.shape[1], width, shift)
    result: NDArray[np.float64] = rows @ image.astype(np.float64) @ columns.T
    return result


def placed(height: int, width: int, inputs: InputSpec) -> tuple[slice, slice]:
    spot = place(height, width, inputs)
    return slice(spot.top, spot.top + spot.height), slice(spot.left, spot.left + spot.width)


SMALL = st.integers(20, 90)


@RULES
@settings(max_examples=25, deadline=None)
@given(height=SMALL, width=SMALL, seed=st.integers(0, 99))
def test_an_input_is_not_shifted_against_the_reference(
    rule: Any, height: Any, width: Any, seed: int
) -> None:
    inputs = spec(resize=rule, height=48, width=64)
    image = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    where = placed(height, width, inputs)
    found = to_input(image, inputs)[0]
    down, across = found[where].shape
    assert (
        np.abs(found[where] * 255 - resampled(image, down, across)).max() < 1.1
    )  # rounded to 8 bits
    assert np.abs(found[where] * 255 - resampled(image, down, across, shift=0.5)).max() > 5
    found[where] = 0
    assert not found.any()


@RULES
@settings(max_examples=25, deadline=None)
@given(height=SMALL, width=SMALL, seed=st.integers(0, 99))
def test_a_mask_is_not_shifted_against_the_reference(
    rule: Any, height: Any, width: Any, seed: int
) -> None:
    inputs = spec(resize=rule, height=48, width=64)
    maps = np.random.default_rng(seed).random((1, 48, 64), np.float32)
    inner = maps[0][placed(height, width, inputs)]
    found = mask_of(maps, (height, width), inputs, outputs=OutputSpec(kind="probabilities"))
    wanted = resampled(inner, height, width)
    clear = np.abs(wanted - 0.5) > 1e-5
    assert np.array_equal(found[clear], wanted[clear] > 0.5)
    shifted = resampled(inner, height, width, shift=0.5)
    assert (found != (shifted > 0.5)).any()


@settings(max_examples=25, deadline=None)
@given(height=st.integers(300, 500), width=st.integers(300, 500))
def test_a_declared_resampling_is_not_ignored_and_changes_no_mask(height: int, width: int) -> None:
    image = np.random.default_rng(height).integers(0, 256, (height, width), np.uint8)
    declared = [spec(resample=rule, height=64, width=64) for rule in get_args(Resample)]
    averaged, plain = (to_input(image, inputs)[0] for inputs in declared)
    seen = placed(height, width, declared[0])
    assert plain[seen].std() > 1.5 * averaged[seen].std()
    maps = np.random.default_rng(width).random((1, 64, 64), np.float32)
    back = [mask_of(maps, image.shape, inputs, outputs=OutputSpec()) for inputs in declared]
    assert np.array_equal(back[0], back[1])


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


# --- a perfect network ---------------------------------------------------------------------------

# How a perfect network of each kind says what it sees (H, W), and the Dice it must come back with.
PERFECT = {
    "probabilities": (lambda seen: seen[None], 0.99),
    "logits": (lambda seen: np.log((seen + 1e-9) / (1 - seen + 1e-9))[None], 0.99),
    "softmax": (lambda seen: np.log(np.stack([1 - seen, seen]) + 1e-9), 0.99),
    # cut at the network's resolution, what lies between its pixels is lost
    "mask": (lambda seen: (seen > 0.5).astype(np.float32)[None], 0.95),
}


@RULES
@pytest.mark.parametrize("kind", PERFECT)
@settings(max_examples=25, deadline=None)
@given(
    height=st.integers(150, 700),
    ratio=st.floats(0.5, 2.0),
    centre=st.tuples(st.floats(0.3, 0.7), st.floats(0.3, 0.7)),
    radius=st.floats(0.1, 0.25),
)
def test_a_perfect_network_is_not_shifted(
    rule: Any, kind: Any, height: int, ratio: float, centre: Any, radius: float
) -> None:
    width = round(height * ratio)
    rows, columns = np.mgrid[:height, :width]
    distance = np.hypot(rows - centre[0] * height, columns - centre[1] * width)
    mask = distance <= max(20.0, radius * min(height, width))
    assume(mask.sum() > 1000 and not mask.all())
    inputs = spec(resize=rule)
    seen = to_input(mask.astype(np.uint8) * 255, inputs)[0]
    says, dice = PERFECT[kind]
    back = mask_of(says(seen), mask.shape, inputs, outputs=OutputSpec(kind=kind))
    assert 2 * (back & mask).sum() / (back.sum() + mask.sum()) > dice


# --- declarations --------------------------------------------------------------------------------


def test_normalisation_and_channels_are_as_declared() -> None:
    image = np.full((224, 224), 255, np.uint8)
    found = to_input(image, spec(channels="rgb", mean=0.5, std=0.25))
    assert found.shape == (3, 224, 224) and found.dtype == np.float32
    assert np.allclose(found, 2.0)


def test_each_channel_gets_its_own_normalisation() -> None:
    image = np.full((100, 224), 255, np.uint8)
    found = to_input(image, spec(channels="rgb", mean=[0.5, 0.4, 0.2], std=[0.5, 0.2, 0.1]))
    assert np.allclose(found[:, 112, 112], [1, 3, 8])
    assert np.allclose(found[:, 0, 0], [-1, -2, -2])  # of the padding too


@pytest.mark.parametrize(
    "wrong",
    [
        {"mean": [0.1, 0.2, 0.3]},
        {"channels": "rgb", "mean": [0.1, 0.2]},
        {"channels": "rgb", "std": [1.0, 1.0, 0.0]},
        {"std": 0},
    ],
)
def test_a_normalisation_that_does_not_fit_the_channels_is_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        spec(**wrong)


def test_a_mask_with_a_threshold_of_its_own_is_refused() -> None:
    with pytest.raises(ValidationError, match="mask has been cut"):
        OutputSpec(kind="mask", threshold=0.4)


def test_a_value_at_the_threshold_is_background() -> None:
    flat = np.zeros((1, 224, 224), np.float32)
    assert not mask_of(flat, (30, 30), spec(), outputs=OutputSpec(kind="logits")).any()
    assert mask_of(flat + 0.01, (30, 30), spec(), outputs=OutputSpec(kind="logits")).all()


def test_the_lesion_is_not_taken_from_the_background_map() -> None:
    maps = np.zeros((2, 224, 224), np.float32)
    maps[1, :112] = 1
    found = mask_of(maps, (224, 224), spec(), outputs=OutputSpec(kind="softmax"))
    assert found[:112].all() and not found[112:].any()


@pytest.mark.parametrize("kind", ["logits", "softmax"])
def test_huge_logits_do_not_overflow(kind: str) -> None:
    outputs = OutputSpec(kind=kind)
    maps = np.full((2, 224, 224), 3e38, np.float32)
    maps[-1] = -3e38
    with np.errstate(all="raise"):
        assert not mask_of(maps[-outputs.maps :], (30, 30), spec(), outputs=outputs).any()


FLAT = np.full((2, 1, 16, 16), 0.5, np.float32)
PAIR = np.concatenate([FLAT, FLAT], axis=1)


@pytest.mark.parametrize(
    "kind, output, what",
    [
        ("logits", FLAT.astype(np.float64), "TYPE"),
        ("logits", "text", "TYPE"),
        ("logits", PAIR, "SHAPE"),
        ("softmax", FLAT, "SHAPE"),
        ("logits", FLAT[:1], "SHAPE"),
        ("logits", FLAT * np.nan, "NON-FINITE"),
        ("probabilities", FLAT + 1, "RANGE"),
        ("mask", FLAT, "RANGE"),
        ("softmax", PAIR, "RANGE"),  # probabilities already
        ("logits", FLAT, None),
        ("probabilities", FLAT, None),
        ("mask", FLAT + 0.5, None),
        ("softmax", PAIR * 7, None),
    ],
)
def test_a_result_of_another_kind_is_refused(kind: str, output: Any, what: str | None) -> None:
    trouble = find_trouble(output, (2, 3, 16, 16), OutputSpec(kind=kind))
    assert (trouble.what if trouble else None) == what
