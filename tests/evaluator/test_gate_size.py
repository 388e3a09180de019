"""The gate's own cost: no list of any kind keeps it busy, whatever its length.

How long each takes is no oracle on a busy machine; the generous limits only end a test that hangs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from onnx import ModelProto

from evaluator.gate import GateLimits
from evaluator.gate.intake import load
from evaluator.gate.parameters import parameters
from evaluator.gate.rules import apply_rules
from evaluator.gate.subject import Subject
from evaluator.gate.survey import survey
from evaluator.gate.wire import oddities
from tests.support.corpus.functions import nested_casts
from tests.support.corpus.honest import model_of, submission
from tests.support.corpus.hostile import node
from tests.support.corpus.wire import all_fields, block, model_with, once, packed

LIMITS = GateLimits()
MANY = 300_000
# Weights may be there by the million, and the numbers of an attribute, which may be weights.
LONG = {
    "floats",
    "ints",
    *(f"{kind}_data" for kind in ("float", "double", "int32", "int64", "uint64")),
}
LISTS = [field for field in all_fields() if field.is_repeated]


def name(field: Any) -> str:
    return f"{field.containing_type.name}.{field.name}"


def static_codes(data: bytes, folder: Path) -> set[str]:
    """What the gate says before anything is loaded."""
    declared = submission(folder, data)
    model = load(folder, declared.models[0], LIMITS)
    if not isinstance(model, ModelProto):
        return {finding.code for finding in model}
    seen = survey(model)
    found = {finding.code for finding in apply_rules(Subject(seen, declared, LIMITS), "m")}
    parameters(seen)
    return found


def written(field: Any, count: int) -> Iterator[bytes]:
    """A list of `count` members, one by one and, where numbers may be, packed."""
    yield model_with(field, once(field) * count)
    if field.message_type is None and field.type not in (field.TYPE_STRING, field.TYPE_BYTES):
        yield model_with(field, packed(field, count))


@pytest.fixture
def guard() -> Iterator[None]:
    begun = time.process_time()
    yield
    assert time.process_time() - begun < 60


@pytest.mark.usefixtures("guard")
@pytest.mark.parametrize("field", [f for f in LISTS if f.name not in LONG], ids=name)
def test_no_list_of_any_message_is_longer_than_a_network_needs(field: Any, tmp_path: Path) -> None:
    for data in written(field, MANY):
        assert static_codes(data, tmp_path) == {"G-FIELDS"}


@pytest.mark.usefixtures("guard")
@pytest.mark.parametrize("field", [f for f in LISTS if f.name in LONG], ids=name)
def test_no_long_list_of_numbers_keeps_the_rules_busy(field: Any, tmp_path: Path) -> None:
    for data in written(field, MANY):
        static_codes(data, tmp_path)


# The lists that the rules do most with, as long as they may be.
LONGEST = {
    "AttributeProto.graphs": 10_000,
    "FunctionProto.opset_import": 250_000,
    "FunctionProto.value_info": 250_000,
    "GraphProto.initializer": 250_000,
    "GraphProto.input": 250_000,
    "GraphProto.node": 250_000,
    "ModelProto.functions": 10_000,
    "ModelProto.opset_import": 1_000,
    "NodeProto.attribute": 250_000,
    "NodeProto.metadata_props": 250_000,
}


@pytest.mark.slow
@pytest.mark.usefixtures("guard")
@pytest.mark.parametrize("field", [f for f in LISTS if name(f) in LONGEST], ids=name)
def test_no_list_just_below_its_limit_keeps_the_rules_busy(field: Any, tmp_path: Path) -> None:
    assert "G-FIELDS" not in static_codes(
        model_with(field, once(field) * (LONGEST[name(field)] - 10)), tmp_path
    )


@pytest.mark.usefixtures("guard")
@pytest.mark.parametrize("field", [f for f in LISTS if f.name in LONG], ids=name)
def test_no_packed_list_fills_the_memory(field: Any) -> None:
    """A byte each on the wire: refused where a parser would make more than 300 MB of it."""
    small = field.type in (field.TYPE_INT32, field.TYPE_INT64, field.TYPE_UINT64)
    if small:
        data = model_with(field, packed(field, (1 << 25) + 1))
        assert [oddity.code for oddity in oddities(data, LIMITS)] == ["G-FIELDS"]


@pytest.mark.usefixtures("guard")
def test_no_list_is_longer_because_it_is_in_parts(tmp_path: Path) -> None:
    """Counted is the whole file: a list is not short because it is in many messages."""
    field = next(f for f in LISTS if name(f) == "TensorProto.dims")
    number = next(f for f in all_fields() if name(f) == "GraphProto.initializer").number
    graph = block(number, packed(field, 5_000)) * 60
    data = model_of([node("Relu", "x", "y")]).SerializeToString()
    assert oddities(data, LIMITS) == ()
    model = ModelProto.FromString(data)
    inner = model.graph.SerializeToString() + graph
    model.ClearField("graph")
    whole = model.SerializeToString() + block(7, inner)
    assert static_codes(whole, tmp_path) == {"G-FIELDS"}


@pytest.mark.usefixtures("guard")
def test_no_many_nodes_times_many_imports_keep_the_rules_busy(tmp_path: Path) -> None:
    """Each node was compared with each import."""
    model = model_of([node("Relu", "x", "y") for _ in range(8_000)])
    for number in range(990):
        model.opset_import.add(domain=f"d{number}", version=1)
    assert "G-DUPLICATE-NAME" in static_codes(model.SerializeToString(), tmp_path)


@pytest.mark.usefixtures("guard")
def test_no_chain_of_references_keeps_the_rules_busy(tmp_path: Path) -> None:
    """Thousands of functions that hand an attribute on to the next, each with a cast of its own."""
    model = nested_casts(500, "to", "Cast", default=False)
    assert "G-TYPE" in static_codes(model.SerializeToString(), tmp_path)
