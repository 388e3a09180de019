"""The cost of a network at batch 1: multiply-accumulates, and the largest tensor.

Convolutions and matrix products are counted, at the declared input size; branches of `If` both.
Shapes come from ONNX Runtime and ONNX's shape inference, so this runs only on models that passed
the static rules, and on a participant's only in a process that can be killed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import onnx
from onnx import ModelProto, NodeProto, TensorProto, inliner, shape_inference
from pydantic import Field

from evaluator.documents.base import Contract
from evaluator.gate.folding import fold
from evaluator.gate.survey import DEFAULT_DOMAINS
from evaluator.gate.tensors import elements

_FOLDABLE = 4096  # elements: shape inference needs the small constants, and only those

Shape = Sequence[int]


class Cost(Contract):
    """What one image at the declared size takes."""

    gmacs: float | None = Field(ge=0, allow_inf_nan=False)  # null where a shape stays unknown
    largest: int = Field(ge=0)  # elements of the largest tensor whose shape is known


def cost(light: ModelProto) -> Cost:
    """The cost of a model as `lighten` leaves it.

    Raises:
        Exception: whatever ONNX and ONNX Runtime raise where they refuse the model.
    """
    folded = fold(inliner.inline_local_functions(light))
    inferred = shape_inference.infer_shapes(folded, data_prop=True)
    macs: list[int | None] = []
    largest = 0
    for node, shapes in _nodes(inferred.graph, {}):
        macs.append(_node_macs(node, shapes))
        made = (shapes.get(name) for name in node.output)
        largest = max(largest, *(math.prod(shape) for shape in made if shape is not None), 0)
    known = [value for value in macs if value is not None]
    return Cost(gmacs=sum(known) / 1e9 if len(known) == len(macs) else None, largest=largest)


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


def _node_macs(node: NodeProto, shapes: Mapping[str, Shape | None]) -> int | None:
    """Multiply-accumulates of one node; 0 where it is none of the table, None where unknown."""
    measure = _MACS.get(node.op_type) if node.domain in DEFAULT_DOMAINS else None
    if measure is None:
        return 0
    names = (*node.input[:2], *node.output[:1])
    operands = [shape for name in names if (shape := shapes.get(name)) is not None]
    return measure(_Product(node, *operands)) if len(operands) == 3 else None


class _Product(NamedTuple):
    """A node with the shapes of its two operands and its result."""

    node: NodeProto
    left: Shape
    right: Shape
    result: Shape


def _conv(product: _Product) -> int:
    """Each output value sums over the kernel and the channels of its group."""
    return math.prod(product.result) * math.prod(product.right[1:])


def _conv_transpose(product: _Product) -> int:
    """Each input value is spread over the kernel and the output channels of its group."""
    return math.prod(product.left) * math.prod(product.right[1:])


def _matmul(product: _Product) -> int:
    return math.prod(product.result) * product.left[-1]


def _gemm(product: _Product) -> int:
    transposed = any(item.name == "transA" and item.i for item in product.node.attribute)
    return math.prod(product.result) * product.left[0 if transposed else -1]


def _einsum(product: _Product) -> int | None:
    """Every index of the equation once; only plain equations of two operands."""
    text = next((item.s for item in product.node.attribute if item.name == "equation"), b"")
    equation = text.decode("ascii", "replace").replace(" ", "")
    terms = equation.split("->")[0].split(",")
    ranks = [len(product.left), len(product.right)]
    if "." in equation or [len(term) for term in terms] != ranks:
        return None
    sizes = dict(zip("".join(terms), (*product.left, *product.right), strict=True))
    return math.prod(sizes.values())


_Measure = Callable[[_Product], int | None]
# Operator -> how it is counted; the quantiser's have been made plain.
_MACS: dict[str, _Measure] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Einsum": _einsum,
    "Gemm": _gemm,
    "MatMul": _matmul,
}
