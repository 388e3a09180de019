"""A network in float16: weights, maps and arithmetic; what it takes and gives stays float32.

Operators that have no float16 kernels, or overflow in it, stay float32 with casts around them, as
ONNX Runtime's converter knows them. The converter is imported when it is needed: it takes its time.
"""

from __future__ import annotations

import re
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto, inliner

from evaluator.errors import BusbenchError
from evaluator.inference.backends import first_line, model_failed

_QUANTISED = re.compile(r"Quantize|^QLinear|Integer$")


def is_reduced(model: ModelProto) -> bool:
    """Whether a network was exported in float16 or quantised, so that its own types are kept."""
    kinds = {tensor.data_type for tensor in model.graph.initializer}
    kinds |= {info.type.tensor_type.elem_type for info in model.graph.input}
    operators = {node.op_type for node in model.graph.node}
    return TensorProto.FLOAT16 in kinds or any(map(_QUANTISED.search, operators))


def in_half(path: Path) -> bytes:
    """The ONNX file at `path`, which has passed the gate, in float16.

    Raises:
        BusbenchError: `model-failed` where it cannot be converted.
    """
    model = onnx.load(path, load_external_data=False)
    if is_reduced(model):
        return path.read_bytes()
    from onnxruntime.transformers.float16 import convert_float_to_float16  # noqa: PLC0415

    try:
        # the converter does not look into functions
        whole = inliner.inline_local_functions(model)
        return bytes(convert_float_to_float16(whole, keep_io_types=True).SerializeToString())
    except Exception as error:
        raise _failed(path.name, error) from error


def _failed(file: str, error: Exception) -> BusbenchError:
    runtime = "ONNX Runtime's float16 converter"
    return model_failed(file, "converted", runtime, reason=first_line(str(error)))
