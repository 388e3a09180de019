"""Export of a trained network to one ONNX file that is proven to give the same answers.

The TorchScript exporter is used: for these networks it gives the same operators as the newer one
in a tenth of the time. Either can be wrong without a word, so no file leaves here before ONNX
Runtime has agreed with PyTorch at several batch sizes.
"""

from __future__ import annotations

import copy
import importlib.util
import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.onnx import symbolic_helper
from torch.onnx.utils import register_custom_op_symbolic

from reference_models.errors import TrainingError
from reference_models.networks.transunet import StandardisedConv

OPSET = 20  # the first with GELU as one operator; ONNX Runtime takes up to 26
INPUT, OUTPUT = "image", "logits"
PARITY_BATCHES = (1, 2, 5)  # a batch size baked into the graph shows at the others
TOLERANCE = 1e-4  # on logits
# Beyond this the tolerance grows with the largest logit. A network that has learned gives logits
# near 100, and float32 rounds a sum to a share of its terms: PyTorch is then 1e-4 from float64.
LARGE = 20


Answer = Callable[[NDArray[np.float32]], NDArray[Any]]  # of a network, for (N, C, H, W)


@dataclass(frozen=True)
class Exported:
    """One ONNX file.

    Args:
        data: its bytes.
        nodes: how many nodes its graph has.
        difference: the largest difference of a logit from PyTorch's, measured as `TOLERANCE` is;
            None where ONNX Runtime is not installed and so nothing was compared.
    """

    data: bytes
    nodes: int
    difference: float | None


class Mirrored(nn.Module):
    """The mean of a network's logits for an image and, mirrored back, for its mirror image.

    Left and right mean nothing in these images, so the two answers are two opinions on one
    question. Costs twice the network's arithmetic; parameters stay the same.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Map (N, C, H, W) images to (N, 1, H, W) logits."""
        seen: Tensor = self.network(image)
        mirrored: Tensor = self.network(torch.flip(image, (3,)))
        return (seen + torch.flip(mirrored, (3,))) / 2


def export_network(network: nn.Module, images: Tensor, notes: Mapping[str, str]) -> Exported:
    """Export a network with a dynamic batch axis, and compare it with PyTorch.

    Args:
        network: on the CPU, in any memory layout; it is put into evaluation mode.
        images: (5 or more, C, H, W) float32 inputs to compare on.
        notes: kept in the file's metadata.

    Raises:
        TrainingError: the exported graph says something else than the network.
    """
    model = to_onnx(network, images[:2], notes)
    data: bytes = model.SerializeToString(deterministic=True)
    return Exported(data, len(model.graph.node), difference(_by(network), data, images))


def to_onnx(network: nn.Module, images: Tensor, notes: Mapping[str, str]) -> onnx.ModelProto:
    """The graph of a network with a dynamic batch axis: checked, but compared with nothing.

    Args:
        network: on the CPU, in any memory layout; it is put into evaluation mode.
        images: (N, C, H, W) float32 inputs to trace it with.
        notes: kept in the graph's metadata.
    """
    network.eval()
    model = onnx.load_model_from_string(_graph(_folded(network), images))
    onnx.helper.set_model_props(model, dict(notes))
    onnx.checker.check_model(model, full_check=True)
    return model


def _folded(network: nn.Module) -> nn.Module:
    """A copy of the network that no longer computes weights from weights."""
    copied = copy.deepcopy(network)
    for module in copied.modules():
        if isinstance(module, StandardisedConv):
            module.fold()
    return copied


@symbolic_helper.parse_args("v", "is", "s", "v")
def _zero_padding(  # noqa: PLR0917  called by the exporter
    g: Any, x: Any, sizes: Sequence[int], mode: str, value: Any
) -> Any:
    """Padding by zeros as one node; the exporter's own writes a dozen to reorder the sizes."""
    if mode != "constant" or not value.node().mustBeNone():
        raise TrainingError(
            "The network pads by something else than zeros.",
            "Pad by zeros: the export knows no other padding.",
        )
    missing = [0] * (x.type().dim() - len(sizes) // 2)
    pads = (*missing, *sizes[-2::-2], *missing, *sizes[::-2])  # all begins, then all ends
    return g.op("Pad", x, g.op("Constant", value_t=torch.tensor(pads)))


def _graph(network: nn.Module, images: Tensor) -> bytes:
    buffer = io.BytesIO()
    batch = {INPUT: {0: "batch"}, OUTPUT: {0: "batch"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # says that it is the older exporter
        # What the trace takes for constants is judged by the comparison that follows.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        register_custom_op_symbolic("aten::pad", _zero_padding, OPSET)
        torch.onnx.export(
            network,
            (images.contiguous(),),
            buffer,  # type: ignore[arg-type]  # this exporter takes one
            dynamo=False,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes=batch,
        )
    return buffer.getvalue()


def difference(expected: Answer, data: bytes, images: Tensor) -> float | None:
    """The largest difference of an ONNX file's answers from the expected ones, over all batches.

    Args:
        expected: what it should answer for (N, C, H, W) float32 images.
        images: (5 or more, C, H, W) float32 inputs to compare on.

    Returns:
        None where ONNX Runtime is not installed and so nothing was compared.

    Raises:
        TrainingError: they differ by more than `TOLERANCE`, or are of another shape.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    run, worst = open_onnx(data), 0.0
    for count in PARITY_BATCHES:
        part = images[:count].contiguous().numpy()
        wanted, found = expected(part), run(part)
        if found.shape != wanted.shape or not np.isfinite(found).all():
            raise TrainingError(
                f"The exported graph gives {found.shape} at batch {count}, not {wanted.shape}.",
                "This network cannot be exported with a dynamic batch as it is written.",
            )
        apart = np.abs(found - wanted).max() / max(1, np.abs(wanted).max() / LARGE)
        worst = max(worst, float(apart))
    if worst > TOLERANCE:
        raise TrainingError(
            f"The exported graph's answers differ from what they should be by {worst:.1e}.",
            "Look for sizes that the export took for constants in the network's forward.",
        )
    return worst


def open_onnx(data: bytes) -> Answer:
    """What an ONNX file with one input and one output answers for a batch, on the CPU."""
    import onnxruntime  # noqa: PLC0415  a proof where it is installed, training runs without it

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def answer(images: NDArray[np.float32]) -> NDArray[Any]:
        (found,) = session.run(None, {name: images})
        return np.asarray(found)

    return answer


def _by(network: nn.Module) -> Answer:
    """What PyTorch answers."""

    def answer(images: NDArray[np.float32]) -> NDArray[Any]:
        with torch.inference_mode():
            found: NDArray[Any] = network(torch.from_numpy(images)).numpy()
        return found

    return answer
