"""Refusals of a CUDA device, where the CPU would do the work in its stead."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from evaluator.documents.inference import Device
from evaluator.errors import BusbenchError, Fault
from evaluator.inference.backends import InferSettings, open_model
from tests.support.gpu_networks import infer_stage
from tests.support.inference import blur, network, speckle, stage


def quantised() -> bytes:
    """A convolution in int8, which only the CPU has."""
    rng = np.random.default_rng(0)
    stored = {
        "scale": np.float32(0.01),
        "zero": np.uint8(0),
        "w": rng.integers(0, 9, (1, 1, 3, 3), np.uint8),
    }
    same = ["scale", "zero"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *same], ["q"]),
        helper.make_node("QLinearConv", ["q", *same, "w", *same, *same], ["c"], pads=[1] * 4),
        helper.make_node("DequantizeLinear", ["c", *same], ["y"]),
    ]
    arrays = [numpy_helper.from_array(np.asarray(each), name) for name, each in stored.items()]
    return network(nodes, arrays)


def test_a_device_that_is_hidden_is_not_replaced_by_the_cpu(tmp_path: Path, gpu: Device) -> None:
    made = stage(tmp_path / "stage", speckle(2), blur())
    done = infer_stage(made, hidden="", device="cuda")
    assert done.returncode == Fault.INFRASTRUCTURE and "device-unavailable" in done.stderr
    assert not list(made.out.glob("*.bits"))


def test_heavy_operators_never_stray_to_the_cpu(tmp_path: Path, cuda: Device) -> None:
    (tmp_path / "model.onnx").write_bytes(quantised())
    with pytest.raises(BusbenchError, match="cannot run QLinearConv of") as refused:
        open_model(tmp_path / "model.onnx", InferSettings(device=cuda))
    assert refused.value.code == "device-unavailable"
    assert refused.value.fault is Fault.INFRASTRUCTURE


def test_the_quantised_network_of_these_tests_is_sound(tmp_path: Path, gpu: Device) -> None:
    """Else it would be refused for a reason of its own."""
    onnx.checker.check_model(quantised(), full_check=True)
    (tmp_path / "model.onnx").write_bytes(quantised())
    maps = open_model(tmp_path / "model.onnx", InferSettings()).run(
        np.ones((2, 1, 8, 8), np.float32)
    )
    assert maps.shape == (2, 1, 8, 8) and maps.any()
