"""Resampling is Pillow's to the last bit, or OpenCV's and torch's to a grey level."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import cv2
import numpy as np
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from evaluator.inference.resampling import fill_inputs, pack_above, resample_levels
from evaluator.predictions import level, packed_bytes, unpack
from evaluator.scoring.cases import require_one_cut
from tests.support import ROOT

SIDES = st.one_of(st.integers(1, 12), st.integers(1, 400))
BILINEAR = Image.Resampling.BILINEAR
PIXELS = np.arange(256, dtype=np.float32)[None]


def drawn(seed: int, height: int, width: int) -> NDArray[np.float64]:
    """Numbers from 0 to 1 of all kinds: noise, a smooth hill, edges, and a ring with a hole."""
    draw = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    hill = np.exp(-((rows - draw.uniform(-1, 1)) ** 2 + (columns - draw.uniform(-1, 1)) ** 2) * 4)
    noise = draw.random((height, width))
    ring = (hill > 0.4) * (hill < 0.8) * (0.7 + 0.3 * noise)
    return [noise, hill, (hill > 0.5) * 1.0, hill * (0.9 + 0.1 * noise), ring][seed % 5]


def resize(image: NDArray[np.uint8], new: tuple[int, int], *, plain: bool = False) -> Any:
    """An image (H, W) at another size, as the input of a network that takes pixels as they are."""
    canvas = np.empty((1, 1, *new), np.float32)
    windows, spots = np.array([(0, *image.shape, image.shape[1], 1)]), np.array([(0, 0, *new)])
    fill_inputs(image.ravel(), windows, PIXELS, canvas, spots, not plain)
    return canvas[0, 0]


def packed(values: NDArray[np.float32], new: tuple[int, int], threshold: float) -> Any:
    """The packed mask of a map (h, w), packed between two that are full, with 1 around each."""
    height, width = values.shape
    maps = np.ones((3, height + 3, width + 3), np.float32)
    maps[1, 1 : height + 1, 2 : width + 2] = values
    length, spots, sizes = packed_bytes(*new), np.array([(1, 2, height, width)] * 3), [new] * 3
    found = np.zeros(3 * length, np.uint8)
    pack_above(maps, spots, np.array(sizes), threshold, found)
    before, mask, behind = found.reshape(3, length)
    assert (before == np.packbits(np.ones(new, bool))).all() and (behind == before).all()
    return mask


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 1000), old=st.tuples(SIDES, SIDES), new=st.tuples(SIDES, SIDES))
@example(0, (300, 300), (195, 298))  # rows first
@example(0, (300, 300), (298, 195))  # columns first
@example(0, (400, 1), (1, 400))
def test_no_pixel_of_an_image_differs_from_pillows(
    seed: int, old: tuple[int, int], new: tuple[int, int]
) -> None:
    image = (drawn(seed, *old) * 255).astype(np.uint8)
    assert (
        resize(image, new) == np.asarray(Image.fromarray(image).resize(new[::-1], BILINEAR))
    ).all()


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 1000), old=st.tuples(SIDES, SIDES), new=st.tuples(SIDES, SIDES))
@example(0, (300, 300), (195, 298))  # rows first
@example(0, (400, 400), (200, 200))  # where OpenCV averages areas instead
@example(0, (400, 1), (1, 400))
def test_no_plain_pixel_differs_from_opencvs_or_torchs_by_more_than_a_level(
    seed: int, old: tuple[int, int], new: tuple[int, int]
) -> None:
    image = (drawn(seed, *old) * 255).astype(np.uint8)
    found = resize(image, new, plain=True)
    opencv = cv2.resize(image, new[::-1], interpolation=cv2.INTER_LINEAR)
    assert np.abs(found - opencv.reshape(new)).max() <= 1
    given = torch.from_numpy(image)[None, None].double()
    theirs = torch.nn.functional.interpolate(given, new, mode="bilinear", antialias=False)
    assert np.abs(found - theirs[0, 0].numpy()).max() <= 1.001  # each axis is rounded


def test_plain_is_not_antialiased_under_another_name() -> None:
    """On noise, a plain image at a quarter keeps the contrast that averaging takes away."""
    image = (drawn(0, 400, 400) * 255).astype(np.uint8)
    assert resize(image, (100, 100), plain=True).std() > 1.5 * resize(image, (100, 100)).std()


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 1000),
    old=st.tuples(SIDES, SIDES),
    new=st.tuples(SIDES, SIDES),
    threshold=st.one_of(st.just(0.5), st.floats(0.0078125, 0.9921875, width=32)),
    ties=st.booleans(),
)
@example(2, (224, 224), (300, 360), 1 - 2**-24, False)
def test_no_pixel_of_a_mask_differs_from_pillows(
    seed: int, old: tuple[int, int], new: tuple[int, int], threshold: float, ties: bool
) -> None:
    values = drawn(seed, *old).astype(np.float32)
    if ties:  # whole areas are equal to the threshold, or a rounding away from it
        values = np.where(values > threshold, np.float32(threshold), values)
        values[::2] = np.where(values[::2] == threshold, np.nextafter(values[::2], 1), values[::2])
    resized = np.asarray(Image.fromarray(values).resize(new[::-1], BILINEAR))
    expected = np.packbits(resized > np.float32(threshold))
    assert (packed(values, new, threshold) == expected).all()


def test_no_value_of_a_resampled_map_is_a_rounding_off() -> None:
    """Thresholds at each value itself, and at the float32 below it, tell which it is."""
    values = np.random.default_rng(0).random((9, 7), np.float32)
    resized = np.asarray(Image.fromarray(values).resize((16, 21), BILINEAR))
    for value in resized.ravel():
        below = np.nextafter(value, np.float32(0))
        assert (packed(values, (21, 16), value) == np.packbits(resized > value)).all()
        assert (packed(values, (21, 16), below) == np.packbits(resized > below)).all()


def test_what_lies_around_a_letterboxed_image_is_black_in_every_channel() -> None:
    table = np.stack([PIXELS[0] + 1, PIXELS[0] + 2])
    canvases = np.full((1, 2, 6, 8), np.nan, np.float32)
    windows, spots = np.array([(0, 5, 5, 5, 1)]), np.array([(1, 2, 4, 4)])
    fill_inputs(np.full(25, 7, np.uint8), windows, table, canvases, spots, True)
    for channel, black in ((canvases[0, 0], 1), (canvases[0, 1], 2)):
        assert (channel[1:5, 2:6] == 7 + black).all()
        assert channel.sum() == 16 * (7 + black) + 32 * black


def test_a_later_process_compiles_nothing() -> None:
    """The first import may have compiled; that takes seconds, which each evaluation would pay."""
    script = """
import sys
from evaluator.inference import resampling
functions = (resampling.fill_inputs, resampling.pack_above, resampling.resample_levels)
print(*(sum(function.stats.cache_hits.values()) for function in functions))
print("scipy.linalg" in sys.modules)
"""
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
        )
    assert done.stdout.split() == ["1", "1", "1", "False"]


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 1000),
    old=st.tuples(SIDES, SIDES),
    new=st.tuples(SIDES, SIDES),
    threshold=st.floats(0.01, 0.99),
)
@example(0, (300, 300), (195, 298), 0.5)  # rows first
@example(2, (400, 1), (1, 400), 0.5)
def test_no_level_of_a_map_differs_from_pillows_or_contradicts_its_mask(
    seed: int, old: tuple[int, int], new: tuple[int, int], threshold: float
) -> None:
    values = (drawn(seed, *old) * 1.1 - 0.05).astype(np.float32)  # a quantised sigmoid's ends, too
    found = resample_levels(values, *new)
    resized = np.asarray(Image.fromarray(values).resize(new[::-1], BILINEAR), np.float64)
    assert np.array_equal(found, np.floor(resized.clip(0, 1) * 255 + 0.5).astype(np.uint8))
    mask = unpack(packed(values, new, threshold).tobytes(), *new)
    require_one_cut(mask, found, level(threshold))
