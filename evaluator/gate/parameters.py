"""The number of parameters of a graph.

The values of float (or quantised) constants that a node uses as weights: not those used as a shape,
a scale, a limit or a zero point, not the running statistics of BatchNormalization, and no single
numbers apart from the biases and slopes of layers. For a network of convolutions, linear layers and
norms that is PyTorch's `sum(p.numel() for p in parameters())`, with one difference: an exporter in
evaluation mode folds BatchNormalization into the convolution before it, so its two values a channel
vanish (and a convolution without bias gains one a channel). Constant tables that are not learned,
such as attention masks, cannot be distinguished from weights and count.
"""

from __future__ import annotations

from onnx import TensorProto

from evaluator.gate.survey import Placed, Survey
from evaluator.gate.tensors import FLOATS, elements

_QUANTISED = frozenset(
    TensorProto.DataType.Value(name)
    for name in ("INT4", "UINT4", "INT8", "UINT8", "INT16", "UINT16", "INT32")
)
_NORMS = ("InstanceNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization")
_CONVS = ("Conv", "ConvTranspose", "Gemm", "PRelu")
# Where even a single value is a weight: operator -> inputs.
_SINGLE: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(_CONVS, (1, 2)),
    **dict.fromkeys((*_NORMS, "BatchNormalization"), (1, 2)),
    "MatMul": (0, 1),
}
# Inputs that are no weights, whatever their values: operator -> inputs.
_NEVER: dict[str, tuple[int, ...]] = {
    "BatchNormalization": (3, 4),  # running statistics are buffers
    "Clip": (1, 2),
    "DequantizeLinear": (1, 2),
    "Dropout": (1, 2),
    "OneHot": (1, 2),
    "Pad": (1, 2, 3),
    "QuantizeLinear": (1, 2),
    "Range": (0, 1, 2),
    "Resize": (1, 2, 3),
}
# Where integers are weights: operator -> inputs. Quantised biases are int32.
_INTEGER: dict[str, tuple[int, ...]] = {
    "ConvInteger": (1,),
    "DequantizeLinear": (0,),
    "DynamicQuantizeMatMul": (1,),
    "MatMulInteger": (1,),
    "MatMulIntegerToFloat": (1,),
    "QGemm": (3, 6),
    "QLinearConv": (3, 8),
    "QLinearMatMul": (3,),
}


def parameters(seen: Survey) -> int:
    """Distinct constants that some node uses as a weight; functions count once, however called."""
    total = 0
    used: set[int] = set()
    for placed in seen.nodes:
        for position, name in enumerate(placed.node.input):
            tensor = placed.scope.constant(name) if name else None
            if tensor is None or id(tensor) in used or not _is_weight(placed, position, tensor):
                continue
            used.add(id(tensor))
            total += elements(tensor)
    return total


def _is_weight(placed: Placed, position: int, tensor: TensorProto) -> bool:
    operator = placed.node.op_type
    if tensor.data_type in _QUANTISED:
        return position in _INTEGER.get(operator, ())
    if tensor.data_type not in FLOATS or position in _NEVER.get(operator, ()):
        return False
    if operator.startswith("QLinear") or operator == "QGemm":
        return False  # their float inputs are scales
    return elements(tensor) > 1 or position in _SINGLE.get(operator, ())
