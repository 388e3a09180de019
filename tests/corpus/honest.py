"""Models that the gate must let through, and the folder a submission of them makes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from evaluator.contract import InputSpec, ModelFile, OutputSpec, Submission
from evaluator.files import sha256_bytes

SIZE = 32
IR, OPSET = 8, 17


def submission(
    folder: Path, data: bytes, *, opset: int = OPSET, size: int = SIZE, channels: str = "grey"
) -> Submission:
    """Write `data` as the one model of a submission and declare it."""
    (folder / "model.onnx").write_bytes(data)
    return Submission(
        team="Honest",
        method="net",
        track="phantom",
        input=InputSpec(height=size, width=size, channels=channels),  # type: ignore[arg-type]
        output=OutputSpec(),
        opset=opset,
        models=(ModelFile(file="model.onnx", sha256=sha256_bytes(data)),),
    )


def value(name: str, shape: list[object] | None = None) -> onnx.ValueInfoProto:
    """A float32 value (n, 1, SIZE, SIZE) unless told otherwise."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape or ["n", 1, SIZE, SIZE])


def weights(name: str, *shape: int) -> onnx.TensorProto:
    """Seeded float32 values."""
    rng = np.random.default_rng(len(name) + sum(shape))
    return numpy_helper.from_array(rng.normal(0, 0.1, shape).astype(np.float32), name)


def model_of(
    nodes: list[onnx.NodeProto],
    initialisers: list[onnx.TensorProto] | None = None,
    *,
    opset: int = OPSET,
    **changes: object,
) -> onnx.ModelProto:
    """A model from `x` to `y`; `changes` go to helper.make_model."""
    graph = helper.make_graph(nodes, "net", [value("x")], [value("y")], initialisers or [])
    settings = {"opset_imports": [helper.make_opsetid("", opset)], "ir_version": IR} | changes
    return helper.make_model(graph, **settings)


def tiny(opset: int = OPSET) -> onnx.ModelProto:
    """Two convolutions: the smallest honest network. 1 * 8 * 9 + 8 + 8 + 1 parameters."""
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["h"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["h"], ["r"], "relu"),
        helper.make_node("Conv", ["r", "w2", "b2"], ["y"], "conv2"),
    ]
    stored = [weights("w1", 8, 1, 3, 3), weights("b1", 8), weights("w2", 1, 8, 1, 1)]
    return model_of(nodes, [*stored, weights("b2", 1)], opset=opset)
