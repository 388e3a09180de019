"""Rules of operators that keep the images of a batch apart, for `evaluator.inference.separable`.

A rule says along which axis a result consists of one block for each image, or None where it may
not. An operator without a rule ends the proof.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import onnx
from onnx import helper

Shape = tuple[int, ...]


class Fixed(NamedTuple):
    """A tensor that is the same whatever the batch."""

    shape: Shape
    values: tuple[float, ...] | None = None  # of a small one


class Extent(NamedTuple):
    """A shape, or a part of one, that contains the batch's size as None; at most once."""

    entries: tuple[int | None, ...]


class Batched(NamedTuple):
    """A tensor of one block for each image, which is what the image alone gives.

    At a batch of N its side along `axis` is N times as long as at a batch of 1.
    """

    axis: int
    shape: Shape  # at a batch of 1

    @property
    def block(self) -> int:
        """How long an image's block is."""
        return self.shape[self.axis]


State = Fixed | Extent | Batched | None  # None: nothing is proven
ABSENT = Fixed((), ())


class Call(NamedTuple):
    """A node with the states that it is given, and the shape of its first result at batch 1."""

    node: onnx.NodeProto
    given: Sequence[Fixed | Extent | Batched]
    shape: Shape
    opset: int

    def attribute(self, name: str, default: Any = None) -> Any:
        """The value of an attribute."""
        found = next((item for item in self.node.attribute if item.name == name), None)
        return default if found is None else helper.get_attribute_value(found)

    def numbers(self, place: int, name: str | None = None) -> tuple[int | None, ...] | None:
        """Whole numbers of an input, or of the attribute that older opsets have instead."""
        if name is not None and self.attribute(name) is not None:
            return tuple(self.attribute(name))
        state = self.given[place] if place < len(self.given) else ABSENT
        if isinstance(state, Extent):
            return state.entries
        values = state.values if isinstance(state, Fixed) else None
        return None if values is None else tuple(int(value) for value in values)

    def axes(self, place: int, rank: int) -> set[int]:
        """Axes of a tensor of `rank` that are named; none where they are not known."""
        named = self.numbers(place, "axes") or ()
        return {axis % rank for axis in named if axis is not None}

    @property
    def data(self) -> Batched | None:
        """The first input, where it is of the batch and all others are fixed."""
        first, *others = self.given
        fixed = all(isinstance(other, Fixed) for other in others)
        return first if isinstance(first, Batched) and fixed else None


Rule = Callable[[Call], int | None]  # the axis of the result, or None


def _broadcast(call: Call) -> int | None:
    """Values of equal place, one of each operand."""
    rank = len(call.shape)
    batched = [state for state in call.given if isinstance(state, Batched)]
    places = {(rank - len(state.shape) + state.axis, state.block) for state in batched}
    if len(places) != 1 or any(isinstance(state, Extent) for state in call.given):
        return None
    place, block = places.pop()
    sides = (_side(state.shape, rank, place) for state in call.given if isinstance(state, Fixed))
    return place if call.shape[place] == block and all(side == 1 for side in sides) else None


def _side(shape: Shape, rank: int, place: int) -> int:
    """The side that a tensor has at a place of the rank that it is broadcast to."""
    own = place - (rank - len(shape))
    return shape[own] if own >= 0 else 1


def _layer(call: Call) -> int | None:
    """Layers and pools, which treat each row of their first axis by itself."""
    return 0 if call.data is not None and call.data.axis == 0 else None


def _softmax(call: Call) -> int | None:
    """Along one axis; before opset 13 along all from that axis on."""
    data, axis = call.data, call.attribute("axis", 1 if call.opset < 13 else -1)
    return data.axis if data is not None and axis % len(data.shape) > data.axis else None


def _layer_normalization(call: Call) -> int | None:
    first, axis = call.given[0], call.attribute("axis", -1)
    inside = isinstance(first, Batched) and axis % len(first.shape) > first.axis
    return _broadcast(call) if inside else None


def _reduction(call: Call) -> int | None:
    data = call.data
    if data is None:
        return None
    rank = len(data.shape)
    axes = call.axes(1, rank)
    if call.node.op_type.startswith("Arg"):
        axes = {call.attribute("axis", 0) % rank}
    if not axes or data.axis in axes:
        return None
    return data.axis if call.attribute("keepdims", 1) else _without(axes, data.axis)


def _without(axes: Iterable[int], place: int) -> int:
    """Where an axis lies once others are taken away."""
    return place - sum(axis < place for axis in axes)


def _squeeze(call: Call) -> int | None:
    data = call.data
    axes = call.axes(1, len(data.shape)) if data is not None else set()
    if data is None or not axes or data.axis in axes:  # without axes, all sides of 1 would go
        return None
    return _without(axes, data.axis)


def _unsqueeze(call: Call) -> int | None:
    axes = call.axes(1, len(call.shape))
    kept = [axis for axis in range(len(call.shape)) if axis not in axes]
    return kept[call.data.axis] if call.data is not None and axes else None


def _transpose(call: Call) -> int | None:
    data = call.data
    if data is None:
        return None
    order = call.attribute("perm", tuple(reversed(range(len(data.shape)))))
    return list(order).index(data.axis)


def _reshape(call: Call) -> int | None:
    """Sides before the batch's stay; its own takes up what the fixed ones after it leave."""
    data, target = call.given[0], call.numbers(1)
    if not isinstance(data, Batched) or target is None:
        return None
    if 0 in target and call.attribute("allowzero", 0):
        return None
    axis = data.axis
    before, after = target[:axis], target[axis + 1 :]
    kept = all(new in (0, old) for new, old in zip(before, data.shape, strict=False))
    if len(target) <= axis or not kept or target[axis] not in (0, -1, None):
        return None
    free = None in after or (target[axis] == -1 and -1 in after)
    return None if free else axis


def _concat(call: Call) -> int | None:
    first = call.given[0]
    alike = isinstance(first, Batched) and all(
        isinstance(state, Batched) and (state.axis, state.block) == (first.axis, first.block)
        for state in call.given
    )
    if not alike or not isinstance(first, Batched):
        return None
    return first.axis if call.attribute("axis") % len(first.shape) != first.axis else None


def _slice(call: Call) -> int | None:
    data = call.data
    axes = call.axes(3, len(data.shape)) if data is not None else set()
    return data.axis if data is not None and axes and data.axis not in axes else None


def _split(call: Call) -> int | None:
    data = call.data
    apart = data is not None and call.attribute("axis", 0) % len(data.shape) != data.axis
    return data.axis if data is not None and apart else None


def _gather(call: Call) -> int | None:
    data, indices = call.data, call.given[1]
    if data is None or not isinstance(indices, Fixed):
        return None
    axis = call.attribute("axis", 0) % len(data.shape)
    if axis == data.axis:
        return None
    return data.axis if data.axis < axis else data.axis - 1 + len(indices.shape)


def _pad(call: Call) -> int | None:
    data, pads = call.data, call.numbers(1)
    if data is None or pads is None or len(call.given) > 3:  # the fourth names axes in any order
        return None
    return data.axis if pads[data.axis] == 0 == pads[data.axis + len(data.shape)] else None


def _resize(call: Call) -> int | None:
    """Scales of 1 or the size as it was, along the batch; no box that is cut out first."""
    data, *others = call.given
    if call.opset < 11 or not isinstance(data, Batched) or isinstance(others[-1], Batched):
        return None
    policy = call.attribute("keep_aspect_ratio_policy", b"stretch")
    mode = call.attribute("coordinate_transformation_mode", b"half_pixel")
    if call.attribute("axes") or policy != b"stretch" or mode == b"tf_crop_and_resize":
        return None
    last = others[-1]  # scales, or the sizes that took their place
    along = (last.entries if isinstance(last, Extent) else last.values) or ()
    wanted = None if isinstance(last, Extent) else 1
    kept = len(others) == (3 if wanted is None else 2) and along[data.axis : data.axis + 1]
    same = kept == (wanted,) and call.shape[data.axis] == data.block
    return data.axis if same else None


def _matmul(call: Call) -> int | None:
    """Products of matrices side by side, or rows of the left, or columns of the right one."""
    left, right = call.given
    if any(not isinstance(state, Extent) and len(state.shape) < 2 for state in call.given):
        return None
    rank, row, column = len(call.shape), -2, -1
    inner = [
        state.axis - len(state.shape)
        for state in call.given
        if isinstance(state, Batched) and state.axis >= len(state.shape) - 2
    ]
    if not inner:
        return _broadcast(call)
    if isinstance(right, Fixed) and inner == [row]:
        return rank + row
    return rank + column if isinstance(left, Fixed) and inner == [column] else None


_BROADCAST = """
Abs Acos Acosh Add And Asin Asinh Atan Atanh Cast Ceil Celu Clip Cos Cosh Div Dropout Elu Equal Erf
Exp Floor Gelu Greater GreaterOrEqual HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Less
LessOrEqual Log Max Mean Min Mish Mod Mul Neg Not Or PRelu Pow Reciprocal Relu Round Selu Shrink
Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Sub Sum Swish Tan Tanh ThresholdedRelu Where Xor
"""
_LAYERS = """
AveragePool BatchNormalization Conv ConvTranspose DepthToSpace GlobalAveragePool GlobalLpPool
GlobalMaxPool GroupNormalization InstanceNormalization LRN LpPool MaxPool SpaceToDepth
"""
_REDUCTIONS = """
ArgMax ArgMin ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
ReduceProd ReduceSum ReduceSumSquare
"""
RULES: Mapping[str, Rule] = {
    **dict.fromkeys(_BROADCAST.split(), _broadcast),
    **dict.fromkeys(_LAYERS.split(), _layer),
    **dict.fromkeys(_REDUCTIONS.split(), _reduction),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), _softmax),
    "Concat": _concat,
    "Gather": _gather,
    "LayerNormalization": _layer_normalization,
    "MatMul": _matmul,
    "Pad": _pad,
    "Reshape": _reshape,
    "Resize": _resize,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
