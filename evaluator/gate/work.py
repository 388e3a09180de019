"""Multiply-accumulates of one operator, from the shapes that it takes and gives.

Every operator that may run is in one of three tables, or has no rule, which makes a network's
number unknown and never smaller:

- `PRODUCTS`: layers, counted by the usual formulas.
- `ELEMENTWISE`: one product for each element. Networks do little of it beside their layers, and
  papers leave it out; a layer can also be written in it.
- `FREE`: what moves, selects, compares, adds or bends values, and multiplies none by another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from onnx import NodeProto

Shape = Sequence[int]


class Work(NamedTuple):
    """Products of one node; None where they can't be known."""

    layers: int | None = 0
    elementwise: int | None = 0


class _Node(NamedTuple):
    """A node with the shapes of its inputs and results; None where a shape is unknown."""

    node: NodeProto
    inputs: list[Shape | None]
    results: list[Shape | None]

    def number(self, name: str, default: int = 0) -> int:
        return next((item.i for item in self.node.attribute if item.name == name), default)

    def known(self, count: int) -> list[Shape]:
        """The first `count` inputs.

        Raises:
            ValueError: one is missing or has an unknown shape.
        """
        found = [shape for shape in self.inputs[:count] if shape is not None]
        if len(found) < count:
            raise ValueError("unknown shape")
        return found

    @property
    def result(self) -> Shape:
        """The first result.

        Raises:
            ValueError: its shape is unknown.
        """
        if not self.results or self.results[0] is None:
            raise ValueError("unknown shape")
        return self.results[0]


def _conv(item: _Node) -> int:
    """Each output value sums over the kernel and the channels of its group."""
    return math.prod(item.result) * math.prod(item.known(2)[1][1:])


def _conv_transpose(item: _Node) -> int:
    """Each input value is spread over the kernel and the output channels of its group."""
    left, right = item.known(2)
    return math.prod(left) * math.prod(right[1:])


def _matmul(item: _Node) -> int:
    return math.prod(item.result) * item.known(2)[0][-1]


def _gemm(item: _Node) -> int:
    return math.prod(item.result) * item.known(2)[0][0 if item.number("transA") else -1]


def _einsum(item: _Node) -> int:
    """Every index of the equation once, for each operand after the first."""
    text = next((each.s for each in item.node.attribute if each.name == "equation"), b"")
    terms = text.decode("ascii", "replace").replace(" ", "").split("->")[0].split(",")
    shapes = item.known(len(item.inputs))
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for index, size in zip(term, shape, strict=True):  # an ellipsis is no index
            sizes[index] = max(size, sizes.get(index, 1))
    return math.prod(sizes.values()) * (len(terms) - 1)


def _recurrent(item: _Node) -> int:
    """At each step of each sequence, both matrices of every gate and direction."""
    steps, inward, recurrent = item.known(3)
    return math.prod(steps[:2]) * (math.prod(inward) + math.prod(recurrent))


def _attention(item: _Node) -> int:
    """Queries by keys, then weights by values, for each head; a cache is not counted."""
    query, key, content = item.known(3)
    if len(item.inputs) > 4 and any(item.node.input[4:6]):
        raise ValueError("unknown length")
    if len(query) == 3:  # (batch, length, heads * size)
        heads, shared = item.number("q_num_heads", 1), item.number("kv_num_heads", 1)
        width = query[2] + heads * content[2] // shared
        return query[0] * query[1] * key[1] * width
    return math.prod(query[:3]) * key[2] * (query[3] + content[3])


def _linear(item: _Node) -> int:
    """Each row by every coefficient; of a support vector machine, by every support vector."""
    names = ("coefficients", "support_vectors")
    tables = (len(item_.floats) for item_ in item.node.attribute if item_.name in names)
    return math.prod(item.known(1)[0][:-1]) * max(tables)


def _per_result(item: _Node) -> int:
    return math.prod(item.result)


def _per_input(item: _Node) -> int:
    return math.prod(item.known(1)[0])


_Measure = Callable[[_Node], int]
# The quantiser's operators have been made plain.
PRODUCTS: dict[str, _Measure] = {
    "Attention": _attention,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DeformConv": _conv,
    "Einsum": _einsum,
    "GRU": _recurrent,
    "Gemm": _gemm,
    "LSTM": _recurrent,
    "LinearClassifier": _linear,
    "LinearRegressor": _linear,
    "MatMul": _matmul,
    "RNN": _recurrent,
    "SVMClassifier": _linear,
    "SVMRegressor": _linear,
}
_BY_RESULT = """
AffineGrid BatchNormalization Div Exp GridSample GroupNormalization HardSigmoid
InstanceNormalization LayerNormalization LeakyRelu Log Mul Normalizer PRelu Pow RMSNormalization
Reciprocal Resize RoiAlign RotaryEmbedding Scaler
"""
_BY_INPUT = "ReduceL2 ReduceLogSum ReduceLogSumExp ReduceProd ReduceSumSquare"
ELEMENTWISE: dict[str, _Measure] = {
    **dict.fromkeys(_BY_RESULT.split(), _per_result),
    **dict.fromkeys(_BY_INPUT.split(), _per_input),
}
_FREE = """
Abs Add BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Ceil Clip CumSum Equal Erf Floor Greater
GreaterOrEqual IsInf IsNaN Less LessOrEqual Max Mean Min Mod Neg Not And Or Xor Round Sign Sqrt Sub
Sum Where Acos Acosh Asin Asinh Atan Atanh Cos Cosh Sin Sinh Tan Tanh
Celu Elu Gelu HardSwish Hardmax LogSoftmax Mish Relu Selu Shrink Sigmoid Softmax Softplus Softsign
SwiGLU Swish ThresholdedRelu
AveragePool Dropout GlobalAveragePool GlobalLpPool GlobalMaxPool LRN LpNormalization LpPool MaxPool
MaxRoiPool MaxUnpool MeanVarianceNormalization
ArgMax ArgMin ArrayFeatureExtractor Binarizer ReduceL1 ReduceMax ReduceMean ReduceMin ReduceSum TopK
BitCast Cast CastLike CenterCropPad Col2Im Compress Concat Constant ConstantOfShape DepthToSpace
Expand EyeLike Flatten Gather GatherElements GatherND Identity If NonZero OneHot Pad Range Reshape
ReverseSequence ScatterElements ScatterND Shape Size Slice SpaceToDepth Split Squeeze Tile Transpose
Trilu Unsqueeze DequantizeLinear DynamicQuantizeLinear QuantizeLinear
"""
FREE = frozenset(_FREE.split())
# ScatterElements and ScatterND multiply only where an attribute says so.
_REDUCING = frozenset(["ScatterElements", "ScatterND"])


def work_of(node: NodeProto, shapes: Mapping[str, Shape | None]) -> Work:
    """Products of one node of a domain that is known; None in both where there is no rule."""
    name = node.op_type
    item = _Node(node, [shapes.get(each) for each in node.input], _results(node, shapes))
    try:
        if name in PRODUCTS:
            return Work(layers=PRODUCTS[name](item))
        if name in ELEMENTWISE or (name in _REDUCING and _multiplies(node)):
            return Work(elementwise=ELEMENTWISE.get(name, _per_result)(item))
    except (ValueError, IndexError, ZeroDivisionError):
        return Work(None, None)
    return Work() if name in FREE else Work(None, None)


def _results(node: NodeProto, shapes: Mapping[str, Shape | None]) -> list[Shape | None]:
    return [shapes.get(each) for each in node.output]


def _multiplies(node: NodeProto) -> bool:
    return any(item.name == "reduction" and item.s == b"mul" for item in node.attribute)
