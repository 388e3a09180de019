"""Tiles: no pixel is left out, shifted, or weighed otherwise than nnU-Net weighs it."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter

from evaluator.documents.input_spec import InputSpec
from evaluator.documents.submission import OutputSpec
from evaluator.errors import BusbenchError
from evaluator.inference.outputs import background, foreground
from evaluator.inference.preprocessing import to_input
from evaluator.inference.tiles import TILES, first_tile, map_image, map_tiles, starts, weigh
from tests.support.inference import blur, dice_rolling, echo, mask_of, speckle, stage
from tests.support.null_device import NullDevice

Maps = NDArray[np.float32]
SIDES = st.integers(16, 90)
OVERLAPS = st.sampled_from([0.0, 0.25, 0.5, 0.75])
TILED: dict[str, Any] = {
    "mode": "tiled",
    "height": 32,
    "width": 48,
    "overlap": 0.5,
    "blend": "gaussian",
    "resize": None,
}


def spec(**changes: object) -> InputSpec:
    return InputSpec.model_validate(TILED | changes)


def by_position(tiles: Maps) -> Maps:
    """Two maps by a network that sees where in its tile a pixel is, so that blending shows."""
    ramp = np.linspace(-1, 1, tiles.shape[2] * tiles.shape[3], dtype=np.float32)
    return np.concatenate([tiles * 3, tiles - ramp.reshape(tiles.shape[2:])], axis=1)


def plainly_blended(image: Maps, inputs: InputSpec) -> NDArray[np.float64]:
    """As nnU-Net's sliding window does it, pixel by pixel in float64: maps (K, H, W)."""
    assert inputs.overlap is not None
    size = inputs.size
    weights = np.ones(size)
    if inputs.blend == "gaussian":
        peak = np.zeros(size)
        peak[size[0] // 2, size[1] // 2] = 1
        weights = gaussian_filter(peak, [side / 8 for side in size], mode="constant")
    steps = []
    for side, tile in zip(image.shape[1:], size, strict=True):
        count = int(np.ceil((side - tile) / (tile * (1 - inputs.overlap)))) + 1
        step = (side - tile) / (count - 1) if count > 1 else 0
        steps.append([int(np.round(step * number)) for number in range(count)])
    above, below = np.zeros((2, *image.shape[1:])), np.zeros(image.shape[1:])
    for y in steps[0]:
        for x in steps[1]:
            maps = by_position(image[None, :, y : y + size[0], x : x + size[1]])[0]
            for row in range(size[0]):
                above[:, y + row, x : x + size[1]] += maps[:, row] * weights[row]
                below[y + row, x : x + size[1]] += weights[row]
    return above / below


@settings(max_examples=40, deadline=None)
@given(
    sides=st.tuples(st.integers(32, 150), st.integers(48, 150)),
    overlap=OVERLAPS,
    blend=st.sampled_from(["gaussian", "constant"]),
    size=st.integers(1, 7),
)
def test_no_blended_value_differs_from_the_plain_reference(
    sides: tuple[int, int], overlap: float, blend: str, size: int
) -> None:
    inputs = spec(overlap=overlap, blend=blend)
    image = np.random.default_rng(sides[0]).random((1, *sides), np.float32)
    found = map_tiles(image, inputs, by_position, maps=2, size=size)
    assert found.dtype == np.float32
    assert np.abs(found - plainly_blended(image, inputs)).max() < 1e-4
    assert found.tobytes() == map_tiles(image, inputs, by_position, maps=2, size=1).tobytes()


@given(side=st.integers(16, 400), tile=SIDES, overlap=OVERLAPS)
def test_no_pixel_is_in_no_tile_and_no_tile_leaves_the_image(
    side: int, tile: int, overlap: float
) -> None:
    side = max(side, tile)
    found = starts(side, tile, spec(overlap=overlap))
    assert found[0] == 0 and found[-1] == side - tile
    assert all(b - a <= np.ceil(tile * (1 - overlap)) for a, b in pairwise(found))
    assert len(set(found)) == len(found)


@settings(deadline=None)
@given(height=st.integers(5, 140), width=st.integers(5, 140), seed=st.integers(0, 99))
def test_a_perfect_network_loses_no_pixel(height: int, width: int, seed: int) -> None:
    """Nothing is scaled, so what comes back is what was seen, in images of any size."""
    mask = np.random.default_rng(seed).random((height, width)) > 0.5
    seen = to_input(mask.astype(np.uint8) * 255, spec())
    maps = map_tiles(seen, spec(), lambda tiles: tiles, maps=1, size=3)
    found = mask_of(maps, mask.shape, spec(), outputs=OutputSpec(kind="probabilities"))
    assert np.array_equal(found, mask)


def test_weights_do_not_vanish_in_the_corners_of_a_large_tile() -> None:
    assert weigh(2048, 2048, "gaussian").min() > 1e-8


@settings(deadline=None)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    black=st.integers(0, 5),
    seed=st.integers(0, 99),
)
def test_no_z_score_is_of_a_tile_or_of_what_is_around_the_image(
    height: int, width: int, black: int, seed: int
) -> None:
    """As nnU-Net: cropped to the box of pixels above 0, then numpy's mean and std, then padded."""
    rng = np.random.default_rng(seed)
    inner = rng.integers(1, 256, (height, width), np.uint8)
    image = np.pad(inner, ((black, 0), (0, black)))
    inputs = spec(normalise="zscore")
    scores = (inner - inner.mean()) / max(inner.std(), 1e-8)
    short = [max(0, tile - side) for tile, side in zip((32, 48), inner.shape, strict=True)]
    padded = np.pad(scores, [(each // 2, each - each // 2) for each in short])[None]
    top, left = short[0] // 2, short[1] // 2
    wanted = plainly_blended(padded, inputs)[-1, top : top + height, left : left + width]
    found = map_image(
        to_input(image, inputs),
        inputs,
        lambda tiles: by_position(tiles)[:, -1:],
        outside=np.full((1, 1, 1), -9, np.float32),
        size=3,
    )
    y, x = max(0, 32 - image.shape[0]) // 2, max(0, 48 - image.shape[1]) // 2
    shown = found[0, y : y + image.shape[0], x : x + image.shape[1]]
    np.testing.assert_allclose(shown[black:, :width], wanted, rtol=1e-3, atol=1e-4)
    assert (found == -9).sum() == found[0].size - inner.size


def test_no_black_image_reaches_the_network() -> None:
    inputs = spec(normalise="zscore")
    seen = to_input(np.zeros((50, 60), np.uint8), inputs)
    outside = background("softmax")
    found = map_image(seen, inputs, lambda _: pytest.fail("it ran"), outside=outside, size=3)
    assert not (foreground(found, "softmax") > 1e-9).any()
    assert np.array_equal(first_tile(seen, inputs), np.zeros((1, 32, 48), np.float32))


def test_no_batch_size_changes_a_mask_of_z_scores(tmp_path: Path) -> None:
    images = [np.pad(image, ((3, 0), (0, 5))) for image in speckle(5)]
    declared = TILED | {"normalise": "zscore"}
    one, many = (
        stage(tmp_path / str(size), images, blur(), **declared).infer(batch_size=size)
        for size in (1, 3)
    )
    assert all(np.array_equal(one[case], many[case]) for case in one)
    assert any(mask.any() for mask in one.values())
    assert not any(mask[:3].any() or mask[:, -5:].any() for mask in one.values())


# --- the infer stage -----------------------------------------------------------------------------


def test_no_batch_size_and_no_number_of_threads_changes_a_tiled_mask(tmp_path: Path) -> None:
    images = speckle(9)
    wanted: dict[str, NDArray[np.bool_]] = {}
    for number, (size, threads) in enumerate([(1, 1), (2, 2), (5, 4), ("auto", 2)]):
        found = stage(
            tmp_path / str(number), images, blur(), blur(6), seed="5" * 64, **TILED
        ).infer(batch_size=size, threads=threads)
        wanted = wanted or found
        assert all(np.array_equal(found[case], wanted[case]) for case in wanted)
    assert {case: mask.shape for case, mask in wanted.items()} == {
        f"c{n:05}": image.shape for n, image in enumerate(images)
    }
    assert any(mask.any() and not mask.all() for mask in wanted.values())


def test_the_tiled_stage_loses_no_pixel_of_what_a_network_saw(tmp_path: Path) -> None:
    images = [(image > 99).astype(np.uint8) * 255 for image in speckle(5)]
    found = stage(tmp_path, images, echo(), kind="probabilities", **TILED).infer()
    for mask, image in zip(found.values(), images, strict=True):
        assert np.array_equal(mask, image > 0)


def test_no_run_of_tiles_on_a_device_has_another_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = stage(tmp_path, speckle(9), blur(), **TILED)
    wanted, device = made.infer(), NullDevice()
    device.plug_in(monkeypatch)
    found = made.infer(device="cuda")
    assert all(np.array_equal(found[case], wanted[case]) for case in wanted)
    assert made.runtime.fixed_batches == (TILES,)
    assert set(device.sizes[1:]) == {TILES}  # the first is the search for what fits


def test_a_network_that_changes_between_runs_is_not_accepted_for_its_tiles(tmp_path: Path) -> None:
    with pytest.raises(BusbenchError, match="another mask"):
        stage(tmp_path, speckle(3), dice_rolling(), **TILED).infer()


# --- declarations --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"overlap": None}, "overlap is missing"),
        ({"blend": None}, "blend is missing"),
        ({"blend": "linear"}, "blend is neither"),
        ({"overlap": 1.0}, "less than or equal to 0.9"),
        ({"resize": "stretch"}, "resize has no effect where mode is tiled"),
        ({"resample": "plain"}, "resample has no effect where mode is tiled"),
        (
            {"mode": "resized", "resize": "stretch", "overlap": None, "blend": None}
            | {"normalise": "zscore"},
            "normalise has no effect where mode is resized",
        ),
        ({"mode": "resized", "resize": "stretch"}, "has no effect where mode is resized"),
        ({"mode": "resized", "overlap": None, "blend": None}, "resize is missing"),
        ({"mode": "sliding"}, "'resized', 'tiled' or 'native'"),
        ({"normalise": "zscore", "mean": 0.5}, "mean has no effect where normalise is zscore"),
        ({"normalise": "zscore", "std": 0.5}, "std has no effect where normalise is zscore"),
        ({"normalise": "zscore", "spacing": 0.1}, "spacing has no effect where normalise"),
        ({"normalise": "minmax"}, "'zscore'"),
    ],
)
def test_what_cannot_take_effect_is_not_ignored(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        spec(**changes)


def test_a_written_declaration_is_not_refused_when_it_is_read_again() -> None:
    resized = InputSpec(height=32, width=32, resize="stretch", resample="plain")
    for made in (spec(), spec(normalise="zscore"), resized):
        assert InputSpec.model_validate(made.document()) == made
