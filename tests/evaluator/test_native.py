"""Native inputs and a declared spacing: no mask is another than a plain reference's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from PIL import Image
from pydantic import ValidationError

from evaluator.documents.canvases import Canvases
from evaluator.documents.input_spec import InputSpec
from evaluator.documents.sealed import SealedCase
from evaluator.documents.submission import OutputSpec
from evaluator.errors import BusbenchError
from evaluator.inference.backends.binding import Bound
from evaluator.inference.by_shape import ByShape
from evaluator.inference.preprocessing import to_input
from tests.support.inference import NATIVE, blur, echo, mask_of, network, speckle, stage
from tests.support.null_device import NullDevice

Maps = NDArray[np.float32]
SIDES = st.tuples(st.integers(3, 90), st.integers(3, 90))


def spec(**changes: object) -> InputSpec:
    return InputSpec.model_validate(NATIVE | {"multiple": 32} | changes)


def plainly(
    image: NDArray[np.uint8],
    model: bytes,
    multiple: int,
    *,
    scale: tuple[float, float] = (1, 1),
) -> NDArray[np.bool_]:
    """Scaled by Pillow, padded by numpy, run alone, cropped, scaled back: the mask of logits."""
    height, width = (max(1, round(side * by)) for side, by in zip(image.shape, scale, strict=True))
    small = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    lacking = [-side % multiple for side in (height, width)]
    around = [(each // 2, each - each // 2) for each in lacking]
    given_ = np.pad(small.astype(np.float32), around)[None, None] / np.float32(255)
    session = onnxruntime.InferenceSession(model)
    (logits,) = session.run(None, {session.get_inputs()[0].name: given_})
    top, left = around[0][0], around[1][0]
    chance = 1 / (1 + np.exp(-logits[0, 0, top : top + height, left : left + width]))
    back = Image.fromarray(chance.astype(np.float32)).resize(
        image.shape[::-1], Image.Resampling.BILINEAR
    )
    return np.asarray(back) > 0.5


@settings(deadline=None, max_examples=60)
@given(sides=SIDES, multiple=st.sampled_from([1, 2, 7, 32, 64]), seed=st.integers(0, 99))
def test_no_padding_is_left_in_a_mask_and_no_pixel_is_lost(
    sides: tuple[int, int], multiple: int, seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, sides, np.uint8)
    inputs = spec(multiple=multiple, mean=0.25, std=0.5)
    seen = to_input(image, inputs)
    lacking = [-side % multiple for side in sides]
    around = [(each // 2, each - each // 2) for each in lacking]
    wanted = (np.pad(image, around).astype(np.float32) / 255 - np.float32(0.25)) / np.float32(0.5)
    assert np.array_equal(seen[0], wanted)
    given_ = (seen * 0.5 + 0.25).astype(np.float32)
    outputs = OutputSpec(kind="probabilities", threshold=0.4)
    mask = mask_of(given_, sides, inputs, outputs=outputs)
    assert np.array_equal(mask, image > 0.4 * 255)


@pytest.mark.parametrize(("multiple", "size", "threads"), [(32, 1, 1), (8, 3, 2), (32, "auto", 2)])
def test_no_mask_of_the_native_stage_differs_from_the_plain_reference(
    tmp_path: Path, multiple: int, size: Any, threads: int
) -> None:
    """Convolutions feel the padding at the edge, so it must be the same, and undone."""
    images = speckle(12)
    inputs = {**NATIVE, "multiple": multiple}
    found = stage(tmp_path, images, blur(), seed="5" * 64, **inputs).infer(
        batch_size=size, threads=threads
    )
    assert [mask.shape for mask in found.values()] == [image.shape for image in images]
    for mask, image in zip(found.values(), images, strict=True):
        assert np.array_equal(mask, plainly(image, blur(), multiple))
    assert any(mask.any() and not mask.all() for mask in found.values())


@pytest.mark.parametrize("resample", ["antialiased", None])
def test_no_mask_at_a_declared_spacing_differs_from_the_plain_reference(
    tmp_path: Path, resample: str | None
) -> None:
    images = speckle(6)
    inputs = {**NATIVE, "multiple": 16, "spacing": 0.1, "resample": resample}
    made = stage(tmp_path, images, blur(), spacing_mm=(0.07, 0.13), **inputs)
    for mask, image in zip(made.infer().values(), images, strict=True):
        wanted = plainly(image, blur(), 16, scale=(0.07 / 0.1, 0.13 / 0.1))
        assert mask.shape == wanted.shape
        assert np.mean(mask != wanted) < 1e-3  # float64 sums here, Pillow's float32 there


def test_no_tile_is_cut_from_an_image_of_another_spacing(tmp_path: Path) -> None:
    """Tiles that do not overlap, of a network that looks at nothing else: as if it were native."""
    images = speckle(4)
    tiled = {"mode": "tiled", "height": 16, "width": 16, "overlap": 0, "blend": "constant"}
    how: dict[str, Any] = {"kind": "probabilities", "spacing_mm": (0.05, 0.05)}
    found = stage(
        tmp_path / "tiled", images, echo(), **how, **{**NATIVE, **tiled}, spacing=0.1
    ).infer()
    wanted = stage(
        tmp_path / "native", images, echo(), **how, **NATIVE, multiple=16, spacing=0.1
    ).infer()
    assert all(np.array_equal(found[case], wanted[case]) for case in wanted)
    assert any(mask.any() and not mask.all() for mask in found.values())


def test_no_image_without_a_spacing_passes_for_one_that_has_it(tmp_path: Path) -> None:
    made = stage(tmp_path, speckle(3), echo(), **NATIVE, multiple=8, spacing=0.1)
    with pytest.raises(BusbenchError, match=r"3 of 3 images state no spacing") as refused:
        made.infer()
    assert refused.value.code == "submission-invalid"


def test_no_image_is_enlarged_past_all_bounds(tmp_path: Path) -> None:
    inputs = {**NATIVE, "multiple": 8, "spacing": 0.01}
    made = stage(tmp_path, speckle(3), echo(), spacing_mm=(1.0, 1.0), **inputs)
    with pytest.raises(BusbenchError, match=r"would have \d+ x \d+, more than 4096"):
        made.infer()


# --- company -------------------------------------------------------------------------------------


def alike(count: int) -> list[NDArray[np.uint8]]:
    """Images of two sizes in turn."""
    rng = np.random.default_rng(3)
    return [rng.integers(0, 256, (40 + 20 * (n % 2), 50), np.uint8) for n in range(count)]


def mixing() -> bytes:
    """A network that lowers each image by the mean of its batch."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "m"], ["d"]),
        helper.make_node("Add", ["d", "small"], ["y"]),
    ]
    return network(nodes, [numpy_helper.from_array(np.array([0.1], np.float32), "small")])


def test_no_company_and_no_batch_size_changes_a_native_mask(tmp_path: Path) -> None:
    images = alike(24)
    wanted = stage(tmp_path / "1", images, blur(), **NATIVE, multiple=8).infer(batch_size=1)
    for number, size in enumerate((2, 6, 24), 2):
        made = stage(tmp_path / str(number), images, blur(), **NATIVE, multiple=8)
        found = made.infer(batch_size=size)
        assert all(np.array_equal(found[case], wanted[case]) for case in wanted)
        assert made.runtime.measured.batch_dependent == ()


def test_no_network_that_mixes_its_images_gets_them_together(tmp_path: Path) -> None:
    images = alike(24)
    wanted = stage(tmp_path / "1", images, mixing(), **NATIVE, multiple=8).infer(batch_size=1)
    made = stage(tmp_path / "6", images, mixing(), **NATIVE, multiple=8)
    found = made.infer(batch_size=6)
    assert all(np.array_equal(found[case], wanted[case]) for case in wanted)
    assert made.runtime.measured.batch_dependent == ("0.onnx",)


def test_images_of_one_shape_are_not_run_apart_for_ever() -> None:
    sizes: list[int] = []

    def run(batch: Maps) -> Maps:
        sizes.append(len(batch))
        return batch

    together = ByShape(run, 4, lambda height, width: True)
    images = [np.full((1, 8, 8 + 8 * (n % 2)), n, np.float32) for n in range(8)]
    for _ in range(3):
        assert all(np.array_equal(a, b) for a, b in zip(together.run(images), images, strict=True))
    # first alone; then alone and together, of two shapes; then together
    assert sizes == [1] * 8 + [1, 1, 1, 1, 4] * 2 + [4, 4]
    assert not together.dependent


@pytest.mark.parametrize("proven", [True, False])
def test_no_shape_is_batched_by_the_proof_or_the_trial_of_another(proven: bool) -> None:
    """Maps of the wider images change with their company; or nothing is proven of them."""

    def run(batch: Maps) -> Maps:
        wide = batch.shape[3] == 16
        return batch + len(batch) if proven and wide else batch

    together = ByShape(run, 2, lambda height, width: proven or width == 8)
    images = [np.full((1, 8, side), side, np.float32) for side in (8, 8, 16, 16)]
    for _ in range(4):
        found = together.run(images)
        assert [float(each[0, 0, 0]) for each in found[:2]] == [8, 8]
        assert [float(each[0, 0, 0]) for each in found[2:]] == [16 + proven] * 2
    assert together.dependent


def test_no_run_of_native_images_on_a_device_has_company(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = alike(9)
    made = stage(tmp_path, images, blur(), **NATIVE, multiple=8)
    wanted, device = made.infer(), NullDevice()
    device.plug_in(monkeypatch)
    found = made.infer(device="cuda", batch_size=4)
    assert all(np.array_equal(found[case], wanted[case]) for case in wanted)
    assert made.runtime.fixed_batches == (1,) and {*device.sizes} == {1}


def test_buffers_of_any_number_of_shapes_are_not_kept() -> None:
    made: list[tuple[int, ...]] = []

    def empty(shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        made.append(shape)
        return np.empty(shape, dtype)

    session = onnxruntime.InferenceSession(blur())
    bound = Bound(session, "cpu", empty)
    for side in range(8, 48):
        batch = np.random.default_rng(side).random((1, 1, side, side), np.float32)
        assert np.array_equal(bound.run(batch), session.run(None, {"x": batch})[0])
    assert len(made) == 2 * 16


# --- what is declared ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"multiple": None}, "multiple is missing"),
        ({"multiple": 0}, "greater than or equal to 1"),
        ({"height": 64}, "height has no effect where mode is native"),
        ({"overlap": 0.5}, "overlap has no effect where mode is native"),
        ({"resample": "plain"}, "resample has no effect where mode is native without a spacing"),
        ({"spacing": 0}, "greater than or equal to 0.01"),
        ({"mode": "resized", "height": 64, "width": 64, "resize": "stretch"}, "multiple has no"),
        (
            {"mode": "resized", "height": 64, "width": 64, "resize": "stretch", "multiple": None}
            | {"spacing": 0.1},
            "spacing has no effect where mode is resized",
        ),
        ({"mode": "resized", "resize": "stretch", "multiple": None}, "height is missing"),
    ],
)
def test_what_cannot_take_effect_on_native_images_is_not_ignored(
    changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        spec(**changes)


def test_no_tile_is_counted_at_a_spacing_that_is_not_declared() -> None:
    tiled = {"mode": "tiled", "height": 16, "width": 16, "overlap": 0.5, "blend": "constant"}
    inputs = spec(**tiled, multiple=None, spacing=0.1)
    assert inputs.runs(24, 32, (0.2, 0.1)) == 5 * 3  # of 48 x 32 pixels, in steps of 8
    assert inputs.runs(24, 32, (0.02, 0.02)) == 1
    assert spec(**tiled, multiple=None).runs(24, 32, (0.2, 0.1)) == 2 * 3


def test_the_usual_canvas_is_neither_a_mean_nor_the_largest() -> None:
    sides = [(30, 30), (33, 60), (100, 100)]
    cases = [
        SealedCase(case_id=f"c{n}", height=h, width=w, file="f") for n, (h, w) in enumerate(sides)
    ]
    found = Canvases.of(spec(), cases)
    assert (found.smallest, found.usual, found.largest) == ((32, 32), (64, 64), (128, 128))
