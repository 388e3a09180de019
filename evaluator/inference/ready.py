"""The stage ready: key, images and device tried without a model to blame.

The harness runs it where a participant's model failed, in a container that has none: what a stage
reports of itself is not believed once a participant's work has run in it.
"""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from evaluator.errors import BusbenchError, Code
from evaluator.inference.backends import InferSettings, add_settings, open_model, settings_of
from evaluator.inference.repeat import require_seed
from evaluator.inference.usage import measured_usage
from evaluator.sealed import open_sealed

SIDE = 32


def ready(out: Path, *, images: Path, key: Path, settings: InferSettings) -> None:
    """Read every sealed image, and run a network of one layer on the device.

    Args:
        out: an existing folder, where the network's file goes.

    Raises:
        BusbenchError: `keys-invalid`, `bundle-invalid`, `device-unavailable`,
            `triton-unavailable`, `extra-missing`; `stage-crashed` where not even this network runs.
    """
    with measured_usage(settings), open_sealed(images, key) as (index, cases):
        require_seed(index, images)
        for _ in cases:
            pass
    try:
        start_device(out, settings)
    except BusbenchError as error:
        if error.code != Code.MODEL_FAILED:
            raise
        message = f"Not even a network of one layer runs on {settings.device}: {error.message}"
        raise BusbenchError(Code.STAGE_CRASHED, message, "Run another model to see.") from error


def start_device(folder: Path, settings: InferSettings) -> None:
    """Run a network of one layer on the device, which takes seconds to begin.

    Args:
        folder: where the network's file goes.
    """
    file = folder / "ready.onnx"
    file.write_bytes(_network())
    with closing(open_model(file, settings)) as model:
        model.run(np.zeros((1, 1, SIDE, SIDE), np.float32))


def _network() -> bytes:
    """A convolution, for which a device loads what nearly every network needs."""
    shape: list[str | int | None] = ["n", 1, SIDE, SIDE]
    kernel = helper.make_tensor("kernel", TensorProto.FLOAT, (1, 1, 3, 3), [1.0] * 9)
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "kernel"], ["y"], pads=[1, 1, 1, 1])],
        "ready",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [kernel],
    )
    opset = helper.make_opsetid("", 17)
    return bytes(helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString())


PATHS = ("images", "key", "out")
add_options = add_settings


def run(args: argparse.Namespace) -> None:
    """Try whether inference could run here, without a submission."""
    ready(args.out, images=args.images, key=args.key, settings=settings_of(args))
