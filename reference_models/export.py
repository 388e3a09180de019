"""From trained weights to an ONNX file that gives the same logits, at every batch size.

A dynamic batch axis can export without complaint and be wrong for all sizes but the one traced, so
a file is accepted only after it agreed with PyTorch at several.
"""

from __future__ import annotations

import importlib.util
import io
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from reference_models.config import Config
from reference_models.errors import TrainingError
from reference_models.files import write_atomically
from reference_models.networks import build

OPSET = 17
BATCHES = (1, 2, 5)
TOLERANCE = 1e-4  # on logits
INPUT, OUTPUT = "image", "logits"


def rebuilt(config: Config, weights: dict[str, Tensor]) -> nn.Module:
    """The network of a recipe with trained weights, ready for inference on the CPU."""
    wanted = config.input
    network = build(config.network, wanted.channel_count, (wanted.height, wanted.width))
    network.load_state_dict(weights)
    return network.eval()


def export(config: Config, weights: dict[str, Tensor], path: Path) -> None:
    """Write one self-contained ONNX file, `image` (N, C, H, W) to `logits` (N, 1, H, W), float32.

    Raises:
        TrainingError: the file disagrees with PyTorch.
        MachineError: the disk refuses.
    """
    network = rebuilt(config, weights)
    data = onnx_bytes(network, _images(config, BATCHES[-1]))
    check_parity(network, data, config)
    write_atomically(path, data)


def onnx_bytes(network: nn.Module, example: Tensor) -> bytes:
    """The network as ONNX with a dynamic batch axis; `example` is (N, C, H, W)."""
    buffer = io.BytesIO()
    axes = {INPUT: {0: "batch"}, OUTPUT: {0: "batch"}}
    with warnings.catch_warnings():
        # The tracing exporter is the one whose graphs stay small here; it says it is the older one.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (example,),
            buffer,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,
        )
    data = buffer.getvalue()
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    return data


def check_parity(network: nn.Module, data: bytes, config: Config) -> None:
    """Hold ONNX Runtime's logits against PyTorch's at several batch sizes, where it is installed.

    Raises:
        TrainingError: they differ by more than `TOLERANCE`.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        return
    import onnxruntime  # noqa: PLC0415  optional here: only this check needs it

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    for batch in BATCHES:
        images = _images(config, batch)
        with torch.inference_mode():
            ours = network(images).numpy()
        (theirs,) = session.run([OUTPUT], {INPUT: images.numpy()})
        difference = float(np.abs(ours - theirs).max())
        if ours.shape != theirs.shape or difference > TOLERANCE:
            raise TrainingError(
                f"The ONNX export of {config.network} is off by {difference:.2g} at batch {batch}.",
                "Report it: no model of this kind may be handed in.",
            )


def _images(config: Config, batch: int) -> Tensor:
    wanted = config.input
    generator = torch.Generator().manual_seed(batch)
    return torch.randn(
        batch, wanted.channel_count, wanted.height, wanted.width, generator=generator
    )
