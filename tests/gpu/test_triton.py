"""A Triton server with an instance on a CUDA device, where a server is installed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from evaluator.documents.inference import Device, Precision
from evaluator.errors import BusbenchError
from evaluator.inference.backends import InferSettings, TritonOptions, open_model
from evaluator.triton.server import find_server
from tests.support.gpu_networks import some_inputs


@pytest.fixture
def server(gpu: Device) -> Path:
    """The server's program."""
    try:
        return find_server(None)
    except BusbenchError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", ["unext", "cmunext"])
def test_a_servers_masks_are_not_other_than_onnx_runtimes_on_the_same_device(
    server: Path, networks: Path, gpu: Device, precision: Precision, name: str
) -> None:
    direct = InferSettings(device=gpu, precision=precision)
    served = InferSettings(
        device=gpu,
        precision=precision,
        backend="triton",
        triton=TritonOptions(executable=server),
    )
    path, inputs = networks / f"{name}.onnx", some_inputs(name)
    with closing(open_model(path, direct)) as ours, closing(open_model(path, served)) as theirs:
        wanted, found = ours.run(inputs) > 0, theirs.run(inputs) > 0
    assert np.array_equal(found, wanted) and 0 < wanted.mean() < 1
