"""The operators that may run.

The allowed are deterministic, take and give plain tensors, and end: their work is bounded by the
size of their inputs. Anything else is refused, so an operator that a later ONNX adds is refused
until somebody puts it here. Domains are judged by the operators used, not by the imports declared:
exporters declare domains that they never use.
"""

from __future__ import annotations

_ARITHMETIC = """
Abs Add BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Ceil Clip CumSum Div Equal Exp Floor
Greater GreaterOrEqual IsInf IsNaN Less LessOrEqual Log Max Mean Min Mod Mul Neg Not And Or Xor Pow
Reciprocal Round Sign Sqrt Sub Sum Where Erf
Acos Acosh Asin Asinh Atan Atanh Cos Cosh Sin Sinh Tan Tanh
"""
_ACTIVATION = """
Celu Elu Gelu HardSigmoid HardSwish Hardmax LeakyRelu LogSoftmax Mish PRelu Relu Selu Shrink Sigmoid
Softmax Softplus Softsign SwiGLU Swish ThresholdedRelu
"""
_LAYER = """
Attention AveragePool BatchNormalization Conv ConvTranspose DeformConv Dropout Einsum Gemm
GlobalAveragePool GlobalLpPool GlobalMaxPool GroupNormalization GRU InstanceNormalization
LayerNormalization LRN LpNormalization LpPool LSTM MatMul MaxPool MaxRoiPool MaxUnpool
MeanVarianceNormalization RMSNormalization RNN RoiAlign RotaryEmbedding DFT Det
"""
_REDUCTION = """
ArgMax ArgMin ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin
ReduceProd ReduceSum ReduceSumSquare TopK
"""
_SHAPE = """
AffineGrid BitCast Cast CastLike CenterCropPad Col2Im Compress Concat Constant ConstantOfShape
DepthToSpace Expand EyeLike Flatten Gather GatherElements GatherND GridSample Identity If NonZero
OneHot Pad Range Reshape Resize ReverseSequence ScatterElements ScatterND Shape Size Slice
SpaceToDepth Split Squeeze Tile Transpose Trilu Unsqueeze
"""
_QUANTISED = """
ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger QLinearConv QLinearMatMul
QuantizeLinear
"""
# What ONNX Runtime's quantiser writes, in its QOperator and QDQ forms, and the GELU that its
# optimiser fuses; none of them reaches a file, a device or a random number.
_MICROSOFT = """
BiasGelu DequantizeLinear DynamicQuantizeMatMul FastGelu Gelu MatMulIntegerToFloat QGemm
QLinearAdd QLinearAveragePool QLinearConcat QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul
QLinearSigmoid QLinearSoftmax QLinearWhere QuantizeLinear QuickGelu
"""
# What scikit-learn's converter writes for models on rows of numbers. ONNX Runtime checks their
# tables: no row is read past its end, and no tree has a cycle. The rest of the domain takes text,
# or gives maps.
_CLASSIC = """
ArrayFeatureExtractor Binarizer LinearClassifier LinearRegressor Normalizer SVMClassifier
SVMRegressor Scaler TreeEnsembleClassifier TreeEnsembleRegressor
"""

ALLOWED: dict[str, frozenset[str]] = {
    "": frozenset((_ARITHMETIC + _ACTIVATION + _LAYER + _REDUCTION + _SHAPE + _QUANTISED).split()),
    "ai.onnx.ml": frozenset(_CLASSIC.split()),
    "com.microsoft": frozenset(_MICROSOFT.split()),
}

# What to do about an operator that is refused.
ADVICE = {
    "ZipMap": "Convert with options={'zipmap': False}, which gives a table of probabilities.",
    "SequenceConstruct": "Give one tensor instead of a list.",
    "Upsample": "Export with opset 11 or later, which writes Resize.",
}

RANDOM = frozenset(
    [
        "Bernoulli",
        "Multinomial",
        "RandomNormal",
        "RandomNormalLike",
        "RandomUniform",
        "RandomUniformLike",
    ]
)
# Their bodies run as often as the data say, so no static count bounds them.
LOOPS = frozenset(["Loop", "Scan", "SequenceMap"])

# Domains whose operators runtimes bring with them: a local function there would replace one.
RESERVED_DOMAINS = ("ai.onnx", "com.microsoft", "com.ms", "org.pytorch.aten")


def reserved(domain: str) -> bool:
    """Whether `domain` is, or lies under, one that belongs to a runtime or the standard."""
    return domain == "" or any(
        domain == name or domain.startswith(f"{name}.") for name in RESERVED_DOMAINS
    )
