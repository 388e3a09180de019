"""Proof, read off a graph, that no image of a batch can change another's maps.

To run some images alone and together shows nothing of the others: a network may look at the rest
of its batch only where an image is of some kind. So each tensor is followed from the input, with
the axis along which it consists of one block for each image. An operator keeps that property by a
rule of `evaluator.inference.batch_rules`, or the proof ends. What is not proven runs at batch 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, inliner, numpy_helper, shape_inference

from evaluator.documents.input_spec import InputSpec, Size
from evaluator.inference.batch_rules import (
    ABSENT,
    RULES,
    Batched,
    Call,
    Extent,
    Fixed,
    Shape,
    State,
)

_SMALL = 4096  # elements of a constant whose values shape inference may need
_DEFAULT_DOMAINS = ("", "ai.onnx")


def is_separable(path: Path, spec: InputSpec, size: Size | None = None) -> bool:
    """Whether it is proven that each image's maps are the same in every batch, rounding apart.

    Args:
        path: an ONNX file that the gate has accepted.
        size: the (height, width) that it is proven for; None: the declared one.
    """
    try:
        model = onnx.load(path, load_external_data=False)
        result = follow(model, spec, size).get(model.graph.output[0].name)
    except Exception:  # noqa: BLE001  whatever ONNX raises: then nothing is proven
        return False
    return isinstance(result, Batched) and (result.axis, result.block) == (0, 1)


def follow(
    model: onnx.ModelProto, spec: InputSpec, size: Size | None = None
) -> Mapping[str, State]:
    """What is proven of each tensor by name; `model` is changed.

    Raises:
        Exception: whatever ONNX raises where it cannot infer a shape.
    """
    model = inliner.inline_local_functions(_lighten(model, (1, spec.depth, *(size or spec.size))))
    _sort(model.graph)
    _widen(model.graph)
    del model.graph.value_info[:]  # what is stated may be wrong
    model = shape_inference.infer_shapes(model, data_prop=True)
    graph = model.graph
    states = _begin(graph)
    opset = max(item.version for item in model.opset_import if item.domain in _DEFAULT_DOMAINS)
    shapes = {info.name: _shape(info) for info in (*graph.value_info, *graph.output)}
    for node in graph.node:
        states.update(_results(node, states, shapes, opset=opset))
    return states


def _lighten(model: onnx.ModelProto, shape: Shape) -> onnx.ModelProto:
    """The model for inputs of `shape`; of large constants their shapes alone."""
    graph, stored = model.graph, list(model.graph.initializer)
    names = {tensor.name for tensor in stored}
    (image,) = (info for info in graph.input if info.name not in names)
    name, kind = image.name, image.type.tensor_type.elem_type
    del graph.initializer[:], graph.input[:]
    graph.input.append(helper.make_tensor_value_info(name, kind, shape))
    for tensor in stored:
        if math.prod(tensor.dims) <= _SMALL:
            graph.initializer.append(tensor)
        else:
            info = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            graph.input.append(info)
    for info in graph.output:
        info.type.tensor_type.ClearField("shape")
    return model


def _sort(graph: onnx.GraphProto) -> None:
    """Put nodes behind those whose results they take: ONNX Runtime's float16 converter does not."""
    nodes = list(graph.node)
    makers = {name: number for number, node in enumerate(nodes) for name in node.output}
    needed = {
        number: {makers[name] for name in node.input if name in makers}
        for number, node in enumerate(nodes)
    }
    del graph.node[:]
    graph.node.extend(nodes[number] for number in TopologicalSorter(needed).static_order())


def _widen(graph: onnx.GraphProto) -> None:
    """Give shape inference the constants that a float16 network widens: scales of a `Resize`."""
    known = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        plain = node.domain in _DEFAULT_DOMAINS
        if plain and node.op_type == "Constant" and node.attribute[0].name == "value":
            known[node.output[0]] = node.attribute[0].t
        tensor = known.get(node.input[0]) if plain and node.op_type == "Cast" else None
        if tensor is None or helper.get_node_attr_value(node, "to") != TensorProto.FLOAT:
            continue
        if math.prod(tensor.dims) <= _SMALL:
            value = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32))
            node.CopyFrom(helper.make_node("Constant", [], [node.output[0]], value=value))


def _begin(graph: onnx.GraphProto) -> dict[str, State]:
    """The states of the image, which is the first input, and of constants."""
    image, *large = graph.input
    states: dict[str, State] = {"": ABSENT, image.name: Batched(0, _shape(image) or ())}
    states |= {info.name: Fixed(_shape(info) or ()) for info in large}
    return states | {tensor.name: _constant(tensor) for tensor in graph.initializer}


def _constant(tensor: TensorProto) -> Fixed:
    small = math.prod(tensor.dims) <= _SMALL
    values = numpy_helper.to_array(tensor).ravel().tolist() if small else None
    return Fixed(tuple(tensor.dims), None if values is None else tuple(values))


def _shape(info: onnx.ValueInfoProto) -> Shape | None:
    dims = info.type.tensor_type.shape.dim
    known = info.type.tensor_type.HasField("shape") and all(dim.dim_value > 0 for dim in dims)
    return tuple(dim.dim_value for dim in dims) if known else None


def _results(
    node: onnx.NodeProto,
    states: Mapping[str, State],
    shapes: Mapping[str, Shape | None],
    *,
    opset: int,
) -> dict[str, State]:
    """The state of each of a node's results."""
    given = [known for name in node.input if (known := states.get(name)) is not None]
    plain = node.domain in _DEFAULT_DOMAINS and len(given) == len(node.input)
    if not plain or not _has_plain_attributes(node):
        return {}
    if node.op_type == "Constant" and node.attribute[0].name == "value":
        return {node.output[0]: _constant(node.attribute[0].t)}
    made = {name: side for name in node.output if (side := shapes.get(name)) is not None}
    shape = shapes.get(node.output[0])
    call = Call(node, given, shape or (), opset)
    if all(isinstance(state, Fixed) for state in given):
        return {name: Fixed(side) for name, side in made.items()}
    extent = _extent(call)
    if extent is not None:
        return {node.output[0]: _known(extent, shape)}
    rule = RULES.get(node.op_type)
    if rule is None or not shape or (len(node.output) > 1 and rule is not RULES["Split"]):
        return {}
    axis = rule(call)
    return {} if axis is None else {name: Batched(axis, side) for name, side in made.items()}


def _has_plain_attributes(node: onnx.NodeProto) -> bool:
    """Whether no attribute is given twice, refers to a function's, or is a graph."""
    graphs = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    single = len({item.name for item in node.attribute}) == len(node.attribute)
    return single and not any(item.ref_attr_name or item.type in graphs for item in node.attribute)


def _known(extent: Extent, shape: Shape | None) -> State:
    """A part of a shape, which is fixed where the batch's size is not in it."""
    values = tuple(entry for entry in extent.entries if entry is not None)
    if len(values) < len(extent.entries):
        return extent
    return None if shape is None else Fixed(shape, values)


def _extent(call: Call) -> Extent | None:
    """What a node makes of shapes; None where it does something else."""
    first, operator = call.given[0], call.node.op_type
    if operator == "Shape" and isinstance(first, Batched):
        entries = tuple(None if n == first.axis else side for n, side in enumerate(first.shape))
        return Extent(entries[call.attribute("start", 0) : call.attribute("end")])
    if operator == "Concat" and any(isinstance(state, Extent) for state in call.given):
        parts = [call.numbers(place) for place in range(len(call.given))]
        return None if None in parts else Extent(tuple(n for part in parts if part for n in part))
    part = _PARTS.get(operator)
    return part(call, first.entries) if isinstance(first, Extent) and part is not None else None


def _picked(call: Call, entries: Entries) -> Extent | None:
    """A `Gather` by known places."""
    places = call.numbers(1)
    return Extent(tuple(entries[n] for n in places if n is not None)) if places else None


def _cut(call: Call, entries: Entries) -> Extent | None:
    """A `Slice` in steps of one."""
    bounds = [call.numbers(place) or () for place in (1, 2)]
    (start,), (end,) = bounds
    return Extent(entries[start:end]) if len(call.given) < 5 else None


def _whole(call: Call, entries: Entries) -> Extent | None:
    """All of it, as the whole numbers that it is."""
    return Extent(entries) if call.attribute("to", TensorProto.INT64) == TensorProto.INT64 else None


Entries = tuple[int | None, ...]
_PARTS: Mapping[str, Callable[[Call, Entries], Extent | None]] = {
    **dict.fromkeys(("Cast", "Identity", "Squeeze", "Unsqueeze"), _whole),
    "Gather": _picked,
    "Slice": _cut,
}
