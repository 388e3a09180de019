"""The declared kind of output: probabilities and masks are not taken for logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from evaluator.documents.submission import OutputSpec
from evaluator.gate import GateRefused, inspect
from evaluator.gate.ending import is_bent
from evaluator.gate.survey import survey
from evaluator.inference.outputs import find_bent
from tests.support.corpus.honest import constant, model_of, submission, value, weights
from tests.support.corpus.hostile import node

F = np.float32
# How people end a network in probabilities or in a mask: from `l`, its logits, to `y`.
ENDS: dict[str, list[onnx.NodeProto]] = {
    "sigmoid": [node("Sigmoid", "l", "y")],
    "sigmoid, then resized": [
        node("Sigmoid", "l", "p"),
        helper.make_node("Resize", ["p", "", "ones"], ["y"], mode="linear"),
    ],
    "sigmoid, then reshaped": [node("Sigmoid", "l", "p"), node("Reshape", "p same", "y")],
    "sigmoid by hand": [
        node("Neg", "l", "n"),
        node("Exp", "n", "e"),
        node("Add", "e one", "f"),
        node("Reciprocal", "f", "y"),
    ],
    "half of tanh": [
        node("Tanh", "l", "t"),
        node("Add", "t one", "s"),
        node("Mul", "s half", "y"),
    ],
    "hard sigmoid": [node("HardSigmoid", "l", "y")],
    "clipped": [node("Clip", "l zero one", "y")],
    "mean of two": [
        node("Sigmoid", "l", "p"),
        node("Sigmoid", "x", "q"),
        node("Mean", "p q", "y"),
    ],
    "softmax, one map": [
        node("Neg", "l", "n"),
        node("Concat", "n l", "c", axis=1),
        node("Softmax", "c", "s", axis=1),
        node("Slice", "s from to axis", "y"),
    ],
    "mask": [node("Greater", "l zero", "g"), node("Cast", "g", "y", to=1)],
    "mask by where": [node("Greater", "l zero", "g"), node("Where", "g one zero", "y")],
    "rounded": [node("Sigmoid", "l", "p"), node("Round", "p", "y")],
}
STORED = [
    constant("one", 1, F),
    constant("half", 0.5, F),
    constant("zero", 0, F),
    constant("ones", [1, 1, 1, 1], F),
    constant("same", [0, 0, 0, -1]),
    constant("from", [1]),
    constant("to", [2]),
    constant("axis", [1]),
]


def ended(end: list[onnx.NodeProto]) -> onnx.ModelProto:
    """Logits of a network that marks dark regions, and `end`."""
    layers = [
        node("Conv", "x w", "b", pads=[1, 1, 1, 1]),
        node("Sub", "half b", "d"),
        node("Mul", "d gain", "l"),
    ]
    kernel = constant("w", np.full((1, 1, 3, 3), 1 / 9), F)
    return model_of([*layers, *end], [*STORED, kernel, constant("gain", 20, F)])


@pytest.mark.parametrize("end", ENDS)
def test_no_end_is_overlooked(end: str) -> None:
    assert is_bent(survey(ended(ENDS[end])))


@pytest.mark.parametrize("inside", ["function", "branch"])
@pytest.mark.parametrize("operator", ["Sigmoid", "Relu"])
def test_no_end_inside_a_function_or_branch_is_overlooked(inside: str, operator: str) -> None:
    if inside == "function":
        body = [node(operator, "a", "b")]
        imports = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
        function = helper.make_function("mine", "End", ["a"], ["b"], body, imports[:1])
        model = ended([helper.make_node("End", ["l"], ["y"], domain="mine")])
        model.functions.append(function)
        model.opset_import.append(imports[1])
    else:
        branches = {
            name: helper.make_graph([node(operator, "l", name)], name, [], [value(name)])
            for name in ("then_branch", "else_branch")
        }
        model = ended([helper.make_node("If", ["zero"], ["y"], **branches)])
    assert is_bent(survey(model)) == (operator == "Sigmoid")


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS)
def test_no_probability_or_mask_passes_as_logits(end: str, tmp_path: Path) -> None:
    data = ended(ENDS[end]).SerializeToString()
    with pytest.raises(GateRefused) as refusal:
        inspect(tmp_path, submission(tmp_path, data))
    is_mask = "mask" in end or end == "rounded"
    assert f"declare `kind: {'mask' if is_mask else 'probabilities'}`" in refusal.value.message
    assert inspect(
        tmp_path, submission(tmp_path, data, kind="mask" if is_mask else "probabilities")
    )


LOGITS: dict[str, list[Any]] = {
    "bare": [node("Identity", "l", "y")],
    "bent before the layers": [
        node("Sigmoid", "l", "p"),
        node("Conv", "p v", "y", pads=[1, 1, 1, 1]),
    ],
    "rectified": [node("Relu", "l", "y")],  # in 0 to 1 only by chance
}


@pytest.mark.parametrize("end", LOGITS)
def test_no_plain_end_counts_as_bent(end: str) -> None:
    model = ended(LOGITS[end])
    model.graph.initializer.append(weights("v", 1, 1, 3, 3))
    assert not is_bent(survey(model))


def test_no_logits_are_refused_for_their_values() -> None:
    for low, high in ((-0.2, 1), (0, 1.2), (-30, 30)):
        maps = np.linspace(low, high, 64, dtype=F).reshape(1, 1, 8, 8)
        assert find_bent(maps, OutputSpec(kind="logits")) is None
    maps = np.linspace(0, 1, 64, dtype=F).reshape(1, 1, 8, 8)
    assert find_bent(maps, OutputSpec(kind="logits")) is not None
    assert find_bent(maps, OutputSpec(kind="probabilities")) is None
