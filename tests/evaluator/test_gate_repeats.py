"""Whatever is given twice where once is meant is refused, in every kind of message."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import AttributeProto, ModelProto, TypeProto, helper

from evaluator.gate import GateLimits, GateRefused, inspect
from evaluator.gate.wire import oddities
from tests.support.corpus.functions import nested_casts
from tests.support.corpus.honest import OPSET, constant, model_of, submission, tiny, value, weights
from tests.support.corpus.hostile import node, with_function
from tests.support.corpus.wire import all_fields, model_with, once

LIMITS = GateLimits()


def name(field: Any) -> str:
    return f"{field.containing_type.name}.{field.name}"


def codes_of(model: ModelProto | bytes, folder: Path) -> set[str]:
    data = model if isinstance(model, bytes) else model.SerializeToString()
    with pytest.raises(GateRefused) as refusal:
        inspect(folder, submission(folder, data))
    return {finding.code for finding in refusal.value.findings}


@pytest.mark.parametrize("field", [f for f in all_fields() if not f.is_repeated], ids=name)
def test_no_single_field_of_any_message_is_given_twice(field: Any, tmp_path: Path) -> None:
    assert oddities(model_with(field, once(field)), LIMITS) == ()
    assert codes_of(model_with(field, 2 * once(field)), tmp_path) == {"G-REPEATED-FIELD"}


PAIRS = [
    pair
    for oneof in dict.fromkeys(f.containing_oneof for f in all_fields() if f.containing_oneof)
    for pair in combinations(oneof.fields, 2)
]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: "-".join(map(name, pair)))
def test_no_two_members_of_a_choice_are_given(pair: tuple[Any, Any], tmp_path: Path) -> None:
    data = model_with(pair[0], once(pair[0]) + once(pair[1]))
    assert codes_of(data, tmp_path) == {"G-REPEATED-FIELD"}


# Lists in which a member may be there twice: their order tells members apart.
SEQUENCES = {
    "AttributeProto": {"floats", "ints", "strings", "tensors", "graphs", "sparse_tensors"},
    "FunctionProto": {"node"},
    "GraphProto": {"node"},
    "IntIntListEntryProto": {"value"},
    "ModelProto": {"training_info"},  # refused at all
    "NodeProto": {"input"},
    "ShardedDimProto": {"simple_sharding"},
    "ShardingSpecProto": {"device"},
    "SparseTensorProto": {"dims"},
    "TensorShapeProto": {"dim"},
    "TensorProto": {f"{kind}_data" for kind in ("float", "double", "int32", "int64", "uint64")}
    | {"dims", "string_data"},
}
SEQUENCES["AttributeProto"].add("type_protos")
LISTS = [
    field
    for field in all_fields()
    if field.is_repeated and field.name not in SEQUENCES.get(field.containing_type.name, ())
]


@pytest.mark.parametrize("field", LISTS, ids=name)
def test_no_list_has_two_members_of_one_name(field: Any, tmp_path: Path) -> None:
    assert "G-DUPLICATE-NAME" in codes_of(model_with(field, 2 * once(field)), tmp_path)


# --- attributes ------------------------------------------------------------------------------


def dropout_read_two_ways() -> ModelProto:
    """One reader takes the first `value`, another the last: training mode on, or off."""
    both = node("Constant", "", "train", value=constant("", True, bool))
    both.attribute.append(helper.make_attribute("value", constant("", False, bool)))
    half = constant("half", 0.5, np.float32)
    return model_of([both, node("Dropout", "x half train", "y")], [half])


def constant_of_two_kinds() -> ModelProto:
    both = node("Constant", "", "k", value_float=1.0)
    both.attribute.append(helper.make_attribute("value_floats", [2.0]))
    return model_of([both, node("Mul", "x k", "y")])


def convolution_with_two_paddings() -> ModelProto:
    model = tiny()
    model.graph.node[0].attribute.append(helper.make_attribute("pads", [0, 0, 2, 2]))
    return model


def default_and_plain_name() -> ModelProto:
    return with_function(
        [node("Relu", "a", "b")],
        attributes=["alpha"],
        attribute_protos=[helper.make_attribute("alpha", 1.0)],
    )


def opset_under_two_names() -> ModelProto:
    model = tiny()
    model.opset_import.append(helper.make_opsetid("ai.onnx", OPSET))
    return model


def opset_twice_in_a_function() -> ModelProto:
    model = with_function([node("Relu", "a", "b")])
    model.functions[0].opset_import.append(helper.make_opsetid("ai.onnx", 13))
    return model


def branch_that_shadows_a_constant() -> ModelProto:
    """Outside `train` is a constant false; in the branch it is made true."""
    then = [
        node("Not", "no", "train"),
        node("Dropout", "x half train", "z"),
    ]
    other = [node("Identity", "x", "z")]
    branches = {
        f"{label}_branch": helper.make_graph(body, label, [], [value("z")])
        for label, body in (("then", then), ("else", other))
    }
    stored = [constant("no", False, bool), constant("train", False, bool)]
    stored.append(constant("half", 0.5, np.float32))
    return model_of([node("If", "no", "y", **branches)], stored)


def result_and_weight_of_one_name() -> ModelProto:
    model = tiny()
    model.graph.initializer.append(weights("h", 1, 8, 32, 32))
    return model


def result_declared_with_two_types() -> ModelProto:
    model = tiny()
    model.graph.value_info.append(value("y", ["n", 2, 32, 32]))
    return model


@pytest.mark.parametrize(
    "build",
    [
        dropout_read_two_ways,
        constant_of_two_kinds,
        convolution_with_two_paddings,
        default_and_plain_name,
        opset_under_two_names,
        opset_twice_in_a_function,
        branch_that_shadows_a_constant,
        result_and_weight_of_one_name,
        result_declared_with_two_types,
    ],
)
def test_no_model_that_two_readers_read_in_two_ways_passes(
    build: Callable[[], ModelProto], tmp_path: Path
) -> None:
    assert codes_of(build(), tmp_path) & {"G-DUPLICATE-NAME", "G-ATTRIBUTE"}


VALUES: dict[str, Any] = {
    "f": 1.0,
    "i": 1,
    "s": b"1",
    "t": constant("", [1.0], np.float32),
    "g": helper.make_graph([], "g", [], []),
    "tp": TypeProto(),
    "floats": [1.0],
    "ints": [1],
    "strings": [b"1"],
    "tensors": [constant("", [1.0], np.float32)],
    "graphs": [helper.make_graph([], "g", [], [])],
    "type_protos": [TypeProto()],
}


def filled(declared: str, *fields: str) -> AttributeProto:
    """An attribute of the type that has its value in `declared`, with values in `fields`."""
    attribute = AttributeProto(name="alpha", **{field: VALUES[field] for field in fields})
    types = {"f": "FLOAT", "i": "INT", "s": "STRING", "t": "TENSOR", "g": "GRAPH"}
    kind = types.get(declared, "TYPE_PROTO" if declared == "tp" else declared.upper())
    attribute.type = AttributeProto.AttributeType.Value(kind)
    return attribute


def relu_with(attribute: AttributeProto) -> ModelProto:
    made = node("LeakyRelu", "x", "y")
    made.attribute.append(attribute)
    return model_of([made])


@pytest.mark.parametrize(
    ("declared", "other"), [pair for pair in product(VALUES, VALUES) if pair[0] != pair[1]]
)
def test_no_attribute_has_a_value_of_another_type(
    declared: str, other: str, tmp_path: Path
) -> None:
    for fields in ((other,), (declared, other)):
        assert "G-ATTRIBUTE" in codes_of(relu_with(filled(declared, *fields)), tmp_path)


@pytest.mark.parametrize("field", VALUES)
def test_no_attribute_without_a_type_or_beside_a_reference_passes(
    field: str, tmp_path: Path
) -> None:
    untyped, referring = filled(field, field), filled(field, field)
    untyped.ClearField("type")
    referring.ref_attr_name = "beta"
    for attribute in (untyped, referring):
        assert "G-ATTRIBUTE" in codes_of(relu_with(attribute), tmp_path)


# --- text through functions ------------------------------------------------------------------


@pytest.mark.parametrize("default", [True, False])
@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize(
    ("attribute", "operator"),
    [("to", "Cast"), ("dtype", "EyeLike"), ("output_dtype", "QuantizeLinear")],
)
def test_no_function_makes_text(
    attribute: str, operator: str, depth: int, default: bool, tmp_path: Path
) -> None:
    assert "G-TYPE" in codes_of(nested_casts(depth, attribute, operator, default=default), tmp_path)
