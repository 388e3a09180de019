"""A Triton server with an instance on a CUDA device, where a server is installed."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from evaluator.documents.inference import Device, Precision
from evaluator.errors import BusbenchError
from evaluator.inference.backends import InferSettings, TritonOptions, open_model
from evaluator.inference.backends.cuda import TF32
from evaluator.triton.server import find_server
from tests.support.gpu_networks import COMMON, some_inputs
from tests.support.gpu_preparation import Networks


@pytest.fixture
def server(gpu: Device) -> Path:
    """The server's program."""
    try:
        return find_server(None)
    except BusbenchError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", COMMON)
def test_a_servers_masks_are_not_other_than_onnx_runtimes_on_the_same_device(
    server: Path, networks: Networks, gpu: Device, precision: Precision, name: str
) -> None:
    served = InferSettings(
        device=gpu,
        precision=precision,
        backend="triton",
        triton=TritonOptions(executable=server),
    )
    wanted = networks.maps(name, precision)[0] > 0
    with patch.dict(os.environ):
        os.environ.pop(TF32, None)  # another test's precision; the server is a process of its own
        with closing(open_model(networks.onnx(name), served)) as model:
            found = model.run(some_inputs(name)) > 0
    assert np.array_equal(found, wanted) and 0 < wanted.mean() < 1
