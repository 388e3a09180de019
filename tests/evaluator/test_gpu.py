"""On a CUDA device: the CPU's masks, and how fast. Not yet run: the project has met no GPU."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from evaluator.documents.inference import Device
from evaluator.inference.backends import InferSettings, open_model
from evaluator.inference.backends.pinned import DRIVER, PinnedMemory
from evaluator.inference.speed import measure_batch
from evaluator.inference.sweep import probe_inputs
from reference_models.export import export_network
from reference_models.networks import build
from tests.support.inference import speckle, stage

SIZE = 256
FLIPPED = 1e-3  # of all pixels, which fresh weights leave close to the threshold

pytestmark = pytest.mark.usefixtures("gpu")


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    """Fresh weights, but with norms that have seen noise: else every pixel would look the same."""
    torch.manual_seed(0)
    made: Any = build("cmunext", 1, SIZE).train()
    with torch.no_grad():
        for _ in range(30):
            made(torch.rand(2, 1, 64, 64))
        made.head.bias -= made.eval()(torch.rand(1, 1, SIZE, SIZE)).median()
    return made


@pytest.fixture(scope="module")
def exported(network: torch.nn.Module) -> bytes:
    return export_network(network, torch.rand(5, 1, SIZE, SIZE), {}).data


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_device_gives_the_masks_of_the_cpu(
    tmp_path: Path, exported: bytes, device: Device, batch_size: int
) -> None:
    skip_without(device)
    images = speckle(20)
    size: dict[str, Any] = {"height": SIZE, "width": SIZE, "resize": "letterbox"}
    wanted = stage(tmp_path / "cpu", images, exported, **size).infer()
    found = stage(tmp_path / device, images, exported, **size).infer(
        device=device, batch_size=batch_size
    )
    flipped = sum((found[case] != wanted[case]).sum() for case in wanted)
    assert flipped <= FLIPPED * sum(mask.size for mask in wanted.values())
    assert any(mask.any() and not mask.all() for mask in wanted.values())


def test_memory_that_is_called_pinned_is() -> None:
    pinned = PinnedMemory()
    array = pinned.empty((2, 3))
    array[:] = 7
    start, flags = ctypes.c_void_p(array.ctypes.data), ctypes.c_uint()
    assert ctypes.CDLL(DRIVER).cuMemHostGetFlags(ctypes.byref(flags), start) == 0
    pinned.close()


def skip_without(device: Device) -> None:
    if device == "tensorrt":
        pytest.importorskip("tensorrt", reason="TensorRT is not installed")
        assert "TensorrtExecutionProvider" in onnxruntime.get_available_providers()


def test_throughput_is_printed_beside_torch_compile(
    tmp_path: Path, network: torch.nn.Module, exported: bytes, gpu: str
) -> None:
    if not torch.cuda.is_available():
        pytest.skip("this PyTorch was built without CUDA")
    (tmp_path / "model.onnx").write_bytes(exported)
    made = stage(tmp_path / "stage", speckle(1), exported, height=SIZE, width=SIZE)
    model = open_model(tmp_path / "model.onnx", InferSettings(device="cuda"))
    batch_size = measure_batch(model, probe_inputs(made.submission.input, []))
    batch = np.random.default_rng(0).random((batch_size, 1, SIZE, SIZE), np.float32)
    print(f"\n{gpu}, batch {batch_size}, images/s:")
    print(f"ONNX Runtime {model.provider} fp32: {rate(lambda: model.run(batch), batch_size):.0f}")
    for kind in (torch.float32, torch.float16):
        compiled = torch.compile(network.to("cuda", kind))
        there = torch.from_numpy(batch).to("cuda", kind)

        def run(compiled: Any = compiled, there: Any = there) -> object:
            with torch.inference_mode():
                return compiled(there).cpu()  # as the runtime's maps come back

        print(f"torch.compile {kind}: {rate(run, batch_size):.0f}")
    network.to("cpu", torch.float32)


def rate(run: Callable[[], object], images: int) -> float:
    """Images a second over a second's runs, after a warm-up."""
    for _ in range(3):
        run()
    runs, start = 0, time.perf_counter()
    while time.perf_counter() - start < 1:
        run()
        runs += 1
    return runs * images / (time.perf_counter() - start)
