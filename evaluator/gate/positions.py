"""Tables of the inputs of operators that are not plain data, for the count of parameters.

Positions are numbers of inputs. An operator that is missing takes data at all of them.
"""

from __future__ import annotations

_REDUCTIONS = """
ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum
ReduceSumSquare
"""
# Only their size or place decides something; their values never arrive in a result.
SETTINGS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(_REDUCTIONS.split(), (1,)),
    **dict.fromkeys(("Squeeze", "Unsqueeze", "Split", "Reshape", "Expand", "Tile", "TopK"), (1,)),
    **dict.fromkeys(("AffineGrid", "CastLike", "CenterCropPad", "CumSum", "OneHot", "Trilu"), (1,)),
    **dict.fromkeys(("ConstantOfShape", "EyeLike", "If"), (0,)),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), (4,)),  # lengths
    **dict.fromkeys(("Col2Im", "DFT", "Dropout"), (1, 2)),
    "MaxUnpool": (2,),
    "Pad": (1, 3),
    "Resize": (1, 2, 3),
    "ReverseSequence": (1,),
    "Slice": (1, 2, 3, 4),
}
SIZES = frozenset(["Shape", "Size"])  # they give the size of what they take
_QLINEAR = (1, 2, 4, 5, 6, 7)
# They only say how to read the weights beside them: statistics, scales, zero points.
COMPANIONS: dict[str, tuple[int, ...]] = {
    "BatchNormalization": (3, 4),
    "ConvInteger": (2, 3),
    "DequantizeLinear": (1, 2),
    "DynamicQuantizeMatMul": (2, 3),
    "MatMulInteger": (2, 3),
    "MatMulIntegerToFloat": (2, 3, 4, 5),
    "QGemm": (1, 2, 4, 5, 7, 8),
    "QLinearAdd": _QLINEAR,
    "QLinearConv": _QLINEAR,
    "QLinearMatMul": _QLINEAR,
    "QLinearMul": _QLINEAR,
    "QuantizeLinear": (1, 2),
}
# Attributes of trees: whole numbers that say which feature is asked for and which class is meant,
# and how often training came by, which no result depends on.
CHOICES = frozenset(["class_ids", "nodes_featureids", "target_ids"])
UNUSED = frozenset(["nodes_hitrates", "nodes_hitrates_as_tensor"])
# First states: zeros there are what an exporter writes for none.
STATES: dict[str, tuple[int, ...]] = {"GRU": (5,), "LSTM": (5, 6), "RNN": (5,)}
_NORMS = ("InstanceNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization")
_LAYERS = ("Conv", "ConvTranspose", "DeformConv", "Gemm", "PRelu", "BatchNormalization", *_NORMS)
# Where even a single number is a weight.
WEIGHTS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(_LAYERS, (1, 2)),
    **dict.fromkeys(("GRU", "LSTM", "RNN"), (1, 2, 3)),
    **dict.fromkeys(("ConvInteger", "MatMulInteger", "MatMulIntegerToFloat"), (1,)),
    "DynamicQuantizeMatMul": (1, 4),
    "MatMul": (0, 1),
    "QGemm": (3, 6),
    "QLinearConv": (3, 8),
    "QLinearMatMul": (3,),
}
_FIRST = """
BitShift Cast CastLike DequantizeLinear Expand Flatten Gather GatherElements GatherND Identity Pad
QuantizeLinear Reshape Slice Split Squeeze Tile Transpose Unsqueeze BitCast
"""
# What a weight may pass on its way to a layer, and the inputs that it comes in by; None is any.
PASSES: dict[str, tuple[int, ...] | None] = {
    **dict.fromkeys(_FIRST.split(), (0,)),
    "Concat": None,
}
# They take several numbers out of one: by bits, or by division and remainder; and where those come
# in. What they are given may have come through the others.
UNPACKS: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("BitCast", "BitShift", "Div", "Floor", "Mod"), (0,)),
    **dict.fromkeys(("BitwiseAnd", "BitwiseOr", "BitwiseXor"), (0, 1)),
}
CARRIES_PACKED: dict[str, tuple[int, ...] | None] = {
    **PASSES,
    **UNPACKS,
    **dict.fromkeys(("Add", "BitwiseNot", "Mul", "Sub"), None),
}
