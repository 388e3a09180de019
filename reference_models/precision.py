"""Conversion of an exported graph to half or a quarter of its size, and what it costs in Dice.

One row a precision; ONNX Runtime's own tools do the work, and its numbers on the fold's validation
cases say what is lost. A graph keeps float32 at both ends, and operators of the standard alone.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from reference_models.batches import Batches
from reference_models.errors import UsageError, chosen
from reference_models.export import INPUT, OUTPUT
from reference_models.files import write_atomically
from reference_models.logs import Progress, quiet
from reference_models.validation import dice_scores

FULL = "fp32"
CALIBRATION_CASES = 64  # training cases whose activations set the ranges of int8

Convert = Callable[[onnx.ModelProto, Tensor], onnx.ModelProto]


@dataclass(frozen=True)
class Cost:
    """What a fold's graph loses and saves in a lower precision, beside its float32 graph.

    Args:
        cases: validation cases that both graphs were run on.
        dice_fp32: mean Dice of the float32 graph on them, at the network's size.
        dice: mean Dice of the other.
        bytes_fp32: size of the float32 graph's file.
        bytes: size of the other's.
        nodes: how many nodes the other has.
    """

    fold: int
    precision: str
    cases: int
    dice_fp32: float
    dice: float
    bytes_fp32: int
    bytes: int
    nodes: int

    @property
    def loss(self) -> float:
        """How much Dice the precision costs."""
        return self.dice_fp32 - self.dice

    def sentence(self) -> str:
        """The measurement, for people."""
        return (
            f"fold {self.fold} in {self.precision}: validation Dice {self.dice:.4f}, "
            f"{self.loss:.4f} lost against fp32 on {self.cases} cases; {self.nodes} nodes, "
            f"{self.bytes / 1e6:.1f} MB instead of {self.bytes_fp32 / 1e6:.1f} MB"
        )


def lower(
    data: bytes,
    precision: str,
    batches: Batches,
    *,
    fold: int,
    threshold: float,
    progress: Progress = quiet,
) -> tuple[bytes, Cost]:
    """Convert a fold's float32 graph, and measure what that costs on its validation cases.

    Args:
        data: the ONNX bytes, as `export_network` gives them.
        precision: a key of `PRECISIONS`.
        threshold: on probabilities.

    Returns:
        The bytes of the other graph, and its cost.

    Raises:
        UsageError: unknown precision, or ONNX Runtime is not installed.
    """
    convert = chosen("precision", precision, PRECISIONS)
    try:
        import onnxruntime  # noqa: F401, PLC0415  all else runs without it
    except ImportError as error:
        raise UsageError(
            f"An export in {precision} needs ONNX Runtime.",
            "Run pip install -e '.[evaluator]' in your checkout of BUSBench, or export in fp32.",
        ) from error
    source = onnx.load_model_from_string(data)
    notes = {item.key: item.value for item in source.metadata_props}
    with _quiet_tools():
        model = convert(source, batches.calibration(fold, CALIBRATION_CASES).cpu())
    onnx.helper.set_model_props(model, notes)
    onnx.checker.check_model(model, full_check=True)
    lowered: bytes = model.SerializeToString(deterministic=True)
    before = _dices(
        data, batches, fold, threshold=threshold, what=f"fold {fold} in {FULL}", progress=progress
    )
    after = _dices(
        lowered,
        batches,
        fold,
        threshold=threshold,
        what=f"fold {fold} in {precision}",
        progress=progress,
    )
    return lowered, Cost(
        fold=fold,
        precision=precision,
        cases=len(before),
        dice_fp32=float(np.mean(before)),
        dice=float(np.mean(after)),
        bytes_fp32=len(data),
        bytes=len(lowered),
        nodes=len(model.graph.node),
    )


def _half(model: onnx.ModelProto, _: Tensor) -> onnx.ModelProto:
    """Weights and activations of 16 bits, but for operators that have no such kernel."""
    from onnxruntime.transformers.float16 import convert_float_to_float16  # noqa: PLC0415
    from onnxruntime.transformers.onnx_model import OnnxModel  # noqa: PLC0415

    half: onnx.ModelProto = convert_float_to_float16(model, keep_io_types=True)
    OnnxModel.graph_topological_sort(half.graph)  # the casts at both ends come last
    return half


def _quantised(model: onnx.ModelProto, images: Tensor) -> onnx.ModelProto:
    """Convolutions and matrix products of 8 bits: static, weights per channel, ranges by images.

    Written with QuantizeLinear and DequantizeLinear, which every runtime reads.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="busbench-int8-") as folder:
        path = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            path,
            _Calibration(images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv", "MatMul", "Gemm"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        quantised: onnx.ModelProto = onnx.load_model_from_string(path.read_bytes())
        return quantised


PRECISIONS: dict[str, Convert] = {"fp16": _half, "int8": _quantised}


class _Calibration:
    """Images one by one, in the form that ONNX Runtime's quantiser asks for."""

    def __init__(self, images: Tensor) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, Any] | None:
        """The next image as an input; None after the last."""
        image = next(self._images, None)
        return None if image is None else {INPUT: image.unsqueeze(0).contiguous().numpy()}


@contextmanager
def _quiet_tools() -> Iterator[None]:
    """Without the tools' advice on steps that these graphs do not need."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _dices(
    data: bytes, batches: Batches, fold: int, *, threshold: float, what: str, progress: Progress
) -> list[float]:
    """Dice of each validation case, by ONNX Runtime."""
    import onnxruntime  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    scores: list[float] = []
    total = batches.validation_count(fold)
    for images, masks in batches.validation(fold):
        (logits,) = session.run([OUTPUT], {INPUT: images.cpu().contiguous().numpy()})
        found = torch.sigmoid(torch.from_numpy(logits)) > threshold
        scores += dice_scores(found, masks.cpu()).tolist()
        progress(f"measuring {what}", len(scores), total)
    return scores


def write_costs(path: Path, costs: Sequence[Cost]) -> None:
    """Write what a precision costs as JSON, one row a fold.

    Raises:
        MachineError: where the disk refuses.
    """
    rows = [{**asdict(cost), "dice_loss": cost.loss} for cost in costs]
    write_atomically(path, (json.dumps(rows, indent=2) + "\n").encode())
