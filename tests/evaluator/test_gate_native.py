"""The gate on networks of free size: none passes that fails at a size that it will see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from evaluator.documents.canvases import Canvases
from evaluator.documents.input_spec import InputSpec
from evaluator.documents.submission import ModelFile, ModelLimits, OutputSpec, Submission
from evaluator.files import sha256_bytes
from evaluator.gate.inspection import inspect
from evaluator.gate.subject import GateLimits, GateRefused
from tests.support.inference import NATIVE, blur, network

CANVASES = Canvases(smallest=(32, 32), usual=(64, 32), largest=(64, 96))
PER_PIXEL = 8 * 9 + 8 * 8 * 9 + 8  # products of `blur`, counted by hand


def declare(folder: Path, data: bytes) -> Submission:
    (folder / "model.onnx").write_bytes(data)
    return Submission(
        team="Team",
        method="net",
        track="phantom",
        input=InputSpec.model_validate(NATIVE | {"multiple": 32}),
        output=OutputSpec(),
        opset=17,
        models=(ModelFile(file="model.onnx", sha256=sha256_bytes(data)),),
    )


def refusal(folder: Path, data: bytes, limits: GateLimits | None = None) -> str:
    submission = declare(folder, data)
    with pytest.raises(GateRefused) as refused:
        inspect(folder, submission, limits or GateLimits(), canvases=CANVASES)
    return "; ".join(map(str, refused.value.findings))


def test_no_native_network_is_counted_at_another_size_than_the_usual(tmp_path: Path) -> None:
    verdict = inspect(tmp_path, declare(tmp_path, blur()), canvases=CANVASES)
    assert verdict.models[0].gmacs == pytest.approx(64 * 32 * PER_PIXEL / 1e9)


def test_no_native_network_escapes_the_limit_at_the_largest_size(tmp_path: Path) -> None:
    """What it takes at the usual size is within it."""
    limit = ModelLimits(gmacs=1.5 * 64 * 32 * PER_PIXEL / 1e9)
    said = refusal(tmp_path, blur(), GateLimits(limit))
    assert "G-COST" in said and "GMACs an image of 64 x 96 pixels" in said


def test_no_tensor_of_the_largest_size_is_too_large(tmp_path: Path) -> None:
    limits = GateLimits(max_tensor_elements=8 * 64 * 64)
    assert "393216 elements" not in refusal(tmp_path, blur(), limits)
    assert f"{8 * 64 * 96} elements for an image of 64 x 96" in refusal(tmp_path, blur(), limits)


def fixed(height: int | str, width: int | str) -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 1, height, width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1, height, width])],
    )
    opset = helper.make_opsetid("", 17)
    return bytes(helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString())


def test_no_network_of_one_size_passes_for_a_native_one(tmp_path: Path) -> None:
    said = refusal(tmp_path, fixed(64, "w"))
    assert "H is 64; it must be left free where mode is native" in said


def test_no_native_network_passes_that_runs_at_one_size_alone(tmp_path: Path) -> None:
    """It is written for 64 x 32, the usual size, and says that it takes any."""
    shape = numpy_helper.from_array(np.array([-1, 1, 64, 32]), "shape")
    said = refusal(tmp_path, network([helper.make_node("Reshape", ["x", "shape"], ["y"])], [shape]))
    assert "G-RUN" in said or "G-RESULT-SHAPE" in said
    assert "32 x 32" in said


def test_a_native_network_is_tried_at_plain_sizes_where_nobody_names_images(tmp_path: Path) -> None:
    verdict = inspect(tmp_path, declare(tmp_path, blur()))
    assert verdict.models[0].gmacs == pytest.approx(512 * 512 * PER_PIXEL / 1e9)
