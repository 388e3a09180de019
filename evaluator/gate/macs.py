"""The cost of a network at batch 1: multiply-accumulates, and the largest tensor.

Layers are counted, at the declared input size; branches of `If` both. Elementwise products count as
soon as they are more than a fifth of that, so that no network looks cheap by writing its layers in
them. An operator without a counting rule makes the number null.
Shapes come from ONNX Runtime and ONNX's shape inference, so this runs only on models that passed
the static rules, and on a participant's only in a process that can be killed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import onnx
from onnx import ModelProto, NodeProto, TensorProto, inliner, shape_inference
from pydantic import Field

from evaluator.documents.base import Contract
from evaluator.gate.folding import fold
from evaluator.gate.survey import DEFAULT_DOMAINS
from evaluator.gate.tensors import elements
from evaluator.gate.work import Shape, Work, work_of

_FOLDABLE = 4096  # elements: shape inference needs the small constants, and only those
_USUAL = 0.2  # elementwise products beside one of a layer


class Cost(Contract):
    """What one image at the declared size takes."""

    gmacs: float | None = Field(
        ge=0, allow_inf_nan=False
    )  # null where an operator cannot be counted
    largest: int = Field(ge=0)  # elements of the largest tensor whose shape is known


def cost(light: ModelProto) -> Cost:
    """The cost of a model as `lighten` leaves it.

    Raises:
        Exception: whatever ONNX and ONNX Runtime raise where they refuse the model.
    """
    folded = fold(inliner.inline_local_functions(light))
    inferred = shape_inference.infer_shapes(folded, data_prop=True)
    work: list[Work] = []
    largest = 0
    for node, shapes in _nodes(inferred.graph, {}):
        known = node.domain in (*DEFAULT_DOMAINS, "ai.onnx.ml")
        work.append(work_of(node, shapes) if known else Work(None, None))
        made = (shapes.get(name) for name in node.output)
        largest = max(largest, *(math.prod(shape) for shape in made if shape is not None), 0)
    macs = _sum(work)
    return Cost(gmacs=None if macs is None else macs / 1e9, largest=largest)


def _sum(work: list[Work]) -> int | None:
    """The products of all nodes, or None where those of one are unknown."""
    layers = elementwise = 0
    for item in work:
        if item.layers is None or item.elementwise is None:
            return None
        layers, elementwise = layers + item.layers, elementwise + item.elementwise
    return layers + (elementwise if elementwise > _USUAL * layers else 0)


def lighten(model: ModelProto, height: int, width: int) -> ModelProto:
    """The model at batch 1 and the declared size, its large constants replaced by their shapes.

    Stated shapes of values in between are left out: they may lie, and are inferred anew.
    """
    graph = model.graph
    stored = {tensor.name for tensor in graph.initializer}
    light = ModelProto(ir_version=model.ir_version)
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    light.graph.name = "light"
    for node in graph.node:
        constant = _large_constant(node)
        if constant is None:
            light.graph.node.append(node)
        else:
            light.graph.input.append(_value(node.output[0], constant.data_type, constant.dims))
    for info in graph.input:
        if info.name not in stored:
            channels = info.type.tensor_type.shape.dim[1].dim_value
            shape = (1, channels, height, width)
            light.graph.input.append(_value(info.name, info.type.tensor_type.elem_type, shape))
    for info in graph.output:
        light.graph.output.append(_value(info.name, info.type.tensor_type.elem_type, None))
    for tensor in graph.initializer:
        if elements(tensor) <= _FOLDABLE:
            light.graph.initializer.append(tensor)
        else:
            light.graph.input.append(_value(tensor.name, tensor.data_type, tensor.dims))
    return light


def _large_constant(node: NodeProto) -> TensorProto | None:
    if node.op_type != "Constant" or node.domain not in DEFAULT_DOMAINS or len(node.output) != 1:
        return None
    tensors = (item.t for item in node.attribute if item.HasField("t"))
    return next((tensor for tensor in tensors if elements(tensor) > _FOLDABLE), None)


def _value(name: str, element_type: int, shape: Shape | None) -> onnx.ValueInfoProto:
    info: onnx.ValueInfoProto = onnx.helper.make_tensor_value_info(name, element_type, shape)
    return info


def _nodes(
    graph: onnx.GraphProto, outer: Mapping[str, Shape | None]
) -> Iterator[tuple[NodeProto, Mapping[str, Shape | None]]]:
    """Every node with the shapes that it sees."""
    shapes = dict(outer)
    for info in (*graph.input, *graph.value_info, *graph.output):
        shapes[info.name] = _dims(info)
    shapes.update((tensor.name, list(tensor.dims)) for tensor in graph.initializer)
    for node in graph.node:
        yield node, shapes
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(attribute.g, shapes)


def _dims(info: onnx.ValueInfoProto) -> Shape | None:
    if not info.type.tensor_type.HasField("shape"):
        return None
    dims = info.type.tensor_type.shape.dim
    return [dim.dim_value for dim in dims] if all(d.HasField("dim_value") for d in dims) else None
