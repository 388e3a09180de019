"""Precision: float16 is what was asked for and no more, and what has no effect is refused."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto
from onnx.reference import ReferenceEvaluator

from evaluator.documents.inference import Precision
from evaluator.documents.input_spec import InputSpec
from evaluator.errors import BusbenchError
from evaluator.gate import inspect
from evaluator.inference.backends import InferSettings, open_model
from evaluator.inference.backends import onnxruntime as runtime
from evaluator.inference.backends.binding import Bound
from evaluator.inference.backends.cuda import TF32, cuda_options, provider_options, require_tf32
from evaluator.inference.backends.half import in_half
from evaluator.inference.separable import is_separable
from tests.support.corpus import honest
from tests.support.inference import blur, half_ends, speckle, stage
from tests.support.null_device import NullDevice

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def kinds(model: ModelProto) -> tuple[int, int, set[int]]:
    """Types of the input, of the output and of the weights."""
    (given,), (result,) = model.graph.input, model.graph.output
    weights = {tensor.data_type for tensor in model.graph.initializer}
    return given.type.tensor_type.elem_type, result.type.tensor_type.elem_type, weights


def saved(folder: Path, data: bytes | ModelProto) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(data if isinstance(data, bytes) else data.SerializeToString())
    return path


# --- the conversion ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        partial(onnx.load_from_string, blur()),
        honest.functional,
        partial(honest.exported, 17, newer=False),
    ],
    ids=["hand-made", "function", "torch-export"],
)
def test_no_weight_stays_float32_and_no_end_becomes_float16(tmp_path: Path, make: Any) -> None:
    path = saved(tmp_path, make())
    model = onnx.load_from_string(in_half(path))
    assert kinds(model)[:2] == (FLOAT, FLOAT)
    assert not model.functions and HALF in kinds(model)[2] and FLOAT not in kinds(model)[2]
    size = honest.SIZE
    images = np.random.default_rng(0).random((2, 1, size, size), np.float32)
    ran = [
        onnxruntime.InferenceSession(data).run(None, {onnx.load(path).graph.input[0].name: images})
        for data in (path.read_bytes(), model.SerializeToString())
    ]
    (whole,), (half,) = ran
    spread = float(np.abs(whole).max())
    assert 0 < np.abs(whole - half).max() < 0.01 * spread and half.dtype == np.float32


def test_a_network_that_was_reduced_already_is_left_as_it_is(tmp_path: Path) -> None:
    for data in (half_ends(), half_ends(FLOAT), honest.halved().SerializeToString()):
        assert in_half(saved(tmp_path, data)) == data
    for how in ({}, {"static": "QDQ"}, {"static": "QOperator"}):
        data = honest.quantised(**how).SerializeToString()
        assert in_half(saved(tmp_path, data)) == data


def test_a_conversion_that_fails_is_not_the_devices_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, how = saved(tmp_path, blur()), InferSettings(device="cuda", precision="fp16")
    monkeypatch.setattr(runtime, "in_half", lambda path: b"nonsense")
    with pytest.raises(BusbenchError) as refused:
        open_model(path, how)
    assert refused.value.code == "model-failed"


def test_a_network_does_not_lose_its_batch_by_the_conversion(tmp_path: Path) -> None:
    spec = InputSpec(height=honest.SIZE, width=honest.SIZE, resize="letterbox")
    exported = saved(tmp_path, honest.exported(18, newer=True))  # with a resizing layer
    assert is_separable(saved(tmp_path, in_half(exported)), spec)
    assert is_separable(saved(tmp_path, half_ends(size=honest.SIZE)), spec)


def test_a_stage_in_float16_gives_masks_of_the_converted_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = speckle(4)
    whole = stage(tmp_path / "whole", images, blur())
    half = stage(tmp_path / "half", images, in_half(whole.folder / "0.onnx"))
    wanted = half.infer()
    NullDevice().plug_in(monkeypatch)
    found = whole.infer(device="cuda", precision="fp16")
    assert all(np.array_equal(found[case], wanted[case]) for case in wanted)


# --- float16 at the ends -------------------------------------------------------------------------


@pytest.mark.parametrize("result", [HALF, FLOAT])
def test_no_network_is_refused_or_misread_for_float16_at_its_ends(
    tmp_path: Path, result: int
) -> None:
    declared = honest.submission(tmp_path, half_ends(result, size=honest.SIZE))
    inspect(tmp_path, declared)
    data = half_ends(result)
    batch = np.random.default_rng(2).random((3, 1, 24, 24), np.float32)
    reference: Any = ReferenceEvaluator(onnx.load_from_string(data))
    (wanted,) = reference.run(None, {"x": batch.astype(np.float16)})
    with closing(open_model(saved(tmp_path, data), InferSettings())) as model:
        maps = model.run(batch)
    session = onnxruntime.InferenceSession(data)
    bound = Bound(session, "cpu", np.empty).run(batch)
    assert maps.dtype == bound.dtype == np.float32 and np.array_equal(maps, bound)
    np.testing.assert_allclose(maps, wanted.astype(np.float32), atol=0.01)


# --- the settings --------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["tf32", "fp16"])
def test_a_precision_without_effect_is_refused(precision: Precision) -> None:
    with pytest.raises(BusbenchError, match="no effect on a CPU") as refused:
        InferSettings(precision=precision)
    assert refused.value.code == "usage"


def test_fp32_never_rounds_to_tf32_and_fp16_has_its_tensor_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without `use_tf32` ONNX Runtime's convolutions leave tensor cores out in any type."""
    assert {p: cuda_options(p)["use_tf32"] for p in ("fp32", "tf32", "fp16")} == {
        "fp32": "0",
        "tf32": "1",
        "fp16": "1",
    }
    monkeypatch.setenv(TF32, "1")
    require_tf32("fp32")
    with pytest.raises(BusbenchError, match=f"{TF32}=0 switches it off"):
        require_tf32("tf32")
    require_tf32("fp16")
    monkeypatch.delenv(TF32)
    require_tf32("tf32")


def test_tensorrt_keeps_its_engines_in_their_folder_and_lowers_nothing_unasked(
    tmp_path: Path,
) -> None:
    plain = dict(provider_options(InferSettings(device="tensorrt")))["TensorrtExecutionProvider"]
    assert plain["trt_fp16_enable"] == "0" and "trt_engine_cache_path" not in plain
    settings = InferSettings(device="tensorrt", precision="fp16", engines=tmp_path)
    first, second = provider_options(settings)
    assert (first[0], second[0]) == ("TensorrtExecutionProvider", "CUDAExecutionProvider")
    assert first[1]["trt_engine_cache_path"] == f"{tmp_path}"
    assert first[1]["trt_fp16_enable"] == "1"
