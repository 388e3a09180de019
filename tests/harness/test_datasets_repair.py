"""Repairs and refusals of cases: decisions on pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from evaluator.documents.base import Label
from harness.datasets.base import RawCase, RefusedError
from harness.datasets.lesions import SPECK, lesion_map
from harness.datasets.pixels import Decoded, to_bytes
from harness.datasets.repair import grey_image, judge, without_specks
from harness.store import Sample

RAW = Path("raw")
CASE = RawCase("c1", "benign", None, RAW / "image.png", (RAW / "mask.png",))
GREY = np.tile(np.arange(60, dtype=np.uint8), (40, 1))


def box(height: int = 40, width: int = 60) -> NDArray[np.uint8]:
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height // 2, width // 4 : width // 2] = 255
    return mask


def colour(mask: NDArray[np.uint8], rgb: tuple[int, int, int]) -> NDArray[np.uint8]:
    return np.asarray((mask[..., None] > 0) * np.array(rgb), dtype=np.uint8)


def decide(
    case: RawCase = CASE, image: NDArray[np.uint8] = GREY, *masks: NDArray[np.uint8]
) -> Sample:
    return judge(case, RAW, Decoded(image), masks=tuple(map(Decoded, masks)))


def test_a_clean_case_is_not_repaired() -> None:
    sample = decide(CASE, GREY, box())
    assert sample.repairs == ()
    assert np.array_equal(sample.mask, box() > 0)
    assert np.array_equal(sample.image, GREY)
    assert (sample.source_image, sample.source_mask) == ("image.png", "mask.png")


@given(arrays(np.uint8, (7, 9)))
def test_three_equal_channels_lose_nothing_and_say_nothing(grey: NDArray[np.uint8]) -> None:
    pixels, repairs = grey_image(Decoded(np.repeat(grey[..., None], 3, axis=2)))
    assert np.array_equal(pixels, grey)
    assert repairs == ()


@given(arrays(np.uint8, (5, 6, 3)))
def test_coloured_pixels_are_counted_and_turned_to_luma(rgb: NDArray[np.uint8]) -> None:
    pixels, repairs = grey_image(Decoded(rgb))
    luma = rgb @ np.array([0.299, 0.587, 0.114])
    assert np.abs(pixels - luma).max() <= 1
    coloured = sum(len(set(pixel)) > 1 for pixel in rgb.reshape(-1, 3).tolist())
    assert repairs == ((f"{coloured} coloured pixels turned grey",) if coloured else ())


def test_alpha_is_repaired_opaque_or_not() -> None:
    rgba = np.dstack([GREY, GREY, GREY, np.full_like(GREY, 255)])
    pixels, repairs = grey_image(Decoded(rgba))
    assert np.array_equal(pixels, GREY)
    assert repairs == ("opaque alpha channel dropped",)
    rgba[..., 3] = 0
    pixels, repairs = grey_image(Decoded(rgba))
    assert not pixels.any()
    assert repairs == ("transparent pixels laid over black",)


@settings(max_examples=30)
@given(st.floats(0.6, 1.6), st.integers(100, 255))
def test_a_soft_mask_is_cut_where_it_was_sharp(sigma: float, top: int) -> None:
    soft = np.rint(gaussian_filter((box(80, 120) > 0) * float(top), sigma)).astype(np.uint8)
    lesion, repairs = lesion_map(RAW, Decoded(soft))
    assert (lesion != (box(80, 120) > 0)).sum() <= 12  # the corners of the box are rounded
    assert "soft borders" in repairs[0]


@pytest.mark.parametrize(("value", "said"), [(1, False), (255, False), (2, True), (128, True)])
def test_a_mask_of_one_value_is_taken_whatever_the_value(value: int, said: bool) -> None:
    lesion, repairs = lesion_map(RAW, Decoded((box() // 255 * value).astype(np.uint8)))
    assert np.array_equal(lesion, box() > 0)
    assert bool(repairs) == said


def test_numbered_lesions_are_all_lesion() -> None:
    mask = box() // 255
    mask[30:38, 40:50] = 2
    sample = decide(CASE, GREY, mask)
    assert np.array_equal(sample.mask, mask > 0)
    assert sample.repairs == ("mask: values 1, 2 taken as lesion",)


def test_a_image_is_not_taken_for_a_mask() -> None:
    noise = np.random.RandomState(0).randint(0, 256, (40, 60)).astype(np.uint8)
    with pytest.raises(RefusedError, match=r"mask\.png contains an image"):
        decide(CASE, GREY, noise)


def test_several_masks_are_united() -> None:
    other = np.zeros((40, 60), np.uint8)
    other[30:38, 40:50] = 255
    case = replace(CASE, masks=(RAW / "m.png", RAW / "m1.png"))
    sample = decide(case, GREY, box(), other)
    assert np.array_equal(sample.mask, (box() | other) > 0)
    assert sample.source_mask == "m.png; m1.png"


@settings(max_examples=60)
@given(arrays(np.bool_, (14, 17)))
def test_specks_go_and_all_else_stays(lesion: NDArray[np.bool_]) -> None:
    kept, repairs = without_specks(lesion)
    assert not (kept & ~lesion).any()
    assert bool(repairs) == bool((kept != lesion).any())
    left, none = without_specks(kept)
    assert np.array_equal(left, kept)
    assert none == ()


def test_a_lesion_of_ten_pixels_is_no_speck() -> None:
    mask = np.zeros((20, 20), np.bool_)
    mask[3, : SPECK - 1] = mask[10, :SPECK] = True
    kept, repairs = without_specks(mask)
    assert kept.sum() == SPECK
    assert repairs == (f"specks removed: 1 ({SPECK - 1} pixels)",)


@settings(max_examples=30)
@given(st.integers(7, 200))
def test_a_mask_of_the_same_proportions_is_scaled_as_pillow_does(step: int) -> None:
    size = (3 * step, 2 * step)
    image = np.indices((2 * step, 3 * step))[1].astype(np.uint8) * 8
    sample = decide(CASE, image, box())
    expected = np.asarray(Image.fromarray(box()).resize(size, Image.Resampling.NEAREST)) > 0
    rows, columns = ((2 * np.arange(new) + 1) * 20 % (2 * step) > 0 for new in expected.shape)
    sure = np.ix_(rows, columns)  # elsewhere a centre falls between two pixels: either is nearest
    assert np.array_equal(sample.mask[sure], expected[sure])
    if step != 20:
        assert sample.repairs == (f"mask: 60 x 40 scaled to {3 * step} x {2 * step}",)


def test_a_mask_of_other_proportions_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"mask\.png is 50 x 40, and its place in its image"):
        decide(CASE, GREY, box(40, 50))


def test_a_mask_at_the_size_the_metadata_state_is_stretched_back() -> None:
    sample = decide(replace(CASE, stated_size=(80, 180)), GREY, box(80, 180))
    assert np.array_equal(sample.mask, box() > 0)
    assert len(sample.repairs) == 2
    assert "metadata say 180 x 80" in sample.repairs[1]


def test_an_empty_mask_of_any_size_is_an_empty_map() -> None:
    sample = decide(replace(CASE, label="normal"), GREY, np.zeros((9, 9), np.uint8))
    assert sample.mask.shape == GREY.shape
    assert not sample.mask.any()
    assert sample.repairs == ("mask: 9 x 9 scaled to 60 x 40",)


def test_a_mask_in_the_colour_of_another_class_keeps_the_class_of_the_metadata() -> None:
    colours: dict[Label, tuple[int, int, int]] = {"benign": (0, 255, 0), "malignant": (255, 0, 0)}
    case = replace(CASE, mask_colours=colours)
    assert decide(case, GREY, colour(box(), (0, 255, 0))).repairs == ()
    sample = decide(case, GREY, colour(box(), (255, 0, 0)))
    assert sample.label == "benign"
    assert "coloured as malignant, class benign taken" in sample.repairs[0]
    assert np.array_equal(sample.mask, box() > 0)
    both = colour(box(), (255, 0, 0))
    both[30:38, 40:50] = (0, 255, 0)
    assert "coloured as benign and malignant" in decide(case, GREY, both).repairs[0]


@pytest.mark.parametrize(
    ("label", "mask", "expected"),
    [
        ("malignant", np.zeros((40, 60), np.uint8), "marks no lesion in a case of class malignant"),
        ("normal", box(), "pixels in a case of class normal"),
        ("benign", np.full((40, 60), 255, np.uint8), "as an inverted mask does"),
        ("benign", 255 - (np.eye(40, 60) * 255).astype(np.uint8), "as an inverted mask does"),
    ],
)
def test_a_mask_that_contradicts_its_class_is_refused(
    label: str, mask: NDArray[np.uint8], expected: str
) -> None:
    with pytest.raises(RefusedError, match=expected) as caught:
        decide(replace(CASE, label=label), GREY, mask)  # type: ignore[arg-type]
    assert caught.value.refusal.file == RAW / "mask.png"


def test_specks_on_a_normal_image_are_no_lesion() -> None:
    mask = np.zeros((40, 60), np.uint8)
    mask[3, 3:6] = 255
    sample = decide(replace(CASE, label="normal"), GREY, mask)
    assert not sample.mask.any()
    assert sample.repairs == ("specks removed: 1 (3 pixels)",)


@pytest.mark.parametrize("label", ["benign", "normal"])
def test_no_mask_is_allowed_for_normal_images_of_some_datasets_alone(label: str) -> None:
    case = replace(CASE, label=label, masks=())  # type: ignore[arg-type]
    with pytest.raises(RefusedError, match="has no mask"):
        decide(case)
    case = replace(case, mask_optional=True)
    if label == "normal":
        assert not decide(case).mask.any()
    else:
        with pytest.raises(RefusedError, match="has no mask"):
            decide(case)


def test_a_box_counted_from_one_agrees_and_a_wrong_one_is_repaired() -> None:
    assert decide(replace(CASE, stated_box=(16, 11, 15, 10)), GREY, box()).repairs == ()
    sample = decide(replace(CASE, stated_box=(20, 10, 15, 10)), GREY, box())
    assert sample.repairs == ("metadata say box [20, 10, 15, 10], the mask has [15, 10, 15, 10]",)


def test_spacing_of_the_table_wins_and_the_files_is_on_record() -> None:
    image = Decoded(GREY, (), (0.1, 0.1))
    sample = judge(CASE, RAW, image, masks=(Decoded(box()),))
    assert (sample.spacing, sample.repairs) == ((0.1, 0.1), ())
    sample = judge(replace(CASE, spacing=(0.2, 0.2)), RAW, image, masks=(Decoded(box()),))
    assert sample.spacing == (0.2, 0.2)
    assert "spacing [0.1, 0.1]" in sample.repairs[0]


@given(arrays(np.int32, (4, 5), elements=st.integers(-3000, 70000)))
def test_values_of_any_depth_keep_their_order_in_eight_bits(values: NDArray[np.int32]) -> None:
    pixels, notes = to_bytes(values)
    order = np.argsort(values, axis=None, kind="stable")
    assert (np.diff(pixels.ravel()[order].astype(int)) >= 0).all()
    fits = values.min() >= 0 and values.max() <= 255
    assert bool(notes) != fits
    if fits:
        assert np.array_equal(pixels, values)
