"""ONNX Runtime as a backend: what is refused before a model runs, and how fast it is fed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime
import pytest

from evaluator.errors import BusbenchError, Fault
from evaluator.inference.backends import InferSettings, open_model
from evaluator.inference.backends.binding import Bound
from evaluator.inference.backends.onnxruntime import (
    require_gpu_provider,
    require_one_runtime,
)
from evaluator.inference.backends.pinned import PinnedMemory
from evaluator.inference.hardware import device_name
from evaluator.inference.speed import MAX_BATCH, choose_batch
from tests.support.inference import blur

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def test_two_packages_of_one_module_are_refused() -> None:
    require_one_runtime(["onnxruntime-gpu"])
    with pytest.raises(BusbenchError) as refused:
        require_one_runtime(["onnxruntime", "onnxruntime-gpu"])
    assert refused.value.code == "extra-conflict"
    assert "onnxruntime and onnxruntime-gpu are both installed" in refused.value.message


@pytest.mark.parametrize(
    "provider, placed",
    [
        (CPU, {CPU: {"Conv"}}),
        (CUDA, {CUDA: {"Relu"}, CPU: {"Conv"}}),
        (CUDA, {CUDA: {"Conv"}, CPU: {"QLinearConv", "Shape"}}),
        (CUDA, {}),
    ],
    ids=["all of it", "its convolutions", "its quantised part", "nothing known"],
)
def test_a_network_is_never_run_on_the_cpu_unasked(provider: Any, placed: Any) -> None:
    with pytest.raises(BusbenchError) as refused:
        require_gpu_provider("cuda", provider, placed, file="model.onnx")
    assert refused.value.code == "device-unavailable"
    assert refused.value.fault is Fault.INFRASTRUCTURE


def test_arithmetic_on_shapes_may_stay_on_the_cpu() -> None:
    require_gpu_provider(
        "cuda", CUDA, {CUDA: {"Conv"}, CPU: {"Shape", "Gather"}}, file="model.onnx"
    )


def test_tensorrt_that_runs_nothing_is_not_called_tensorrt() -> None:
    with pytest.raises(BusbenchError, match="runs nothing"):
        require_gpu_provider(
            "tensorrt", "TensorrtExecutionProvider", {CUDA: {"Conv"}}, file="model.onnx"
        )


def ordinary(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    return np.empty(shape, dtype)


def test_bound_buffers_give_no_other_maps_and_are_not_handed_out() -> None:
    session = onnxruntime.InferenceSession(blur(), providers=[CPU])
    bound = Bound(session, "cpu", ordinary)
    rng = np.random.default_rng(0)
    batches = [rng.random((size, 1, 32, 32), np.float32) for size in (1, 3, 1, 3, 2)]
    kept = [bound.run(batch) for batch in batches]
    for batch, maps in zip(batches, kept, strict=True):
        assert np.array_equal(maps, session.run(None, {"x": batch})[0])


def test_batches_at_the_same_time_share_no_buffers() -> None:
    """Each of four threads fills and empties its own while another's batch runs."""
    session = onnxruntime.InferenceSession(blur(), providers=[CPU])
    bound = Bound(session, "cpu", ordinary)
    rng = np.random.default_rng(0)
    batches = [rng.random((size, 1, 48, 48), np.float32) for size in (4, 4, 4, 3) * 12]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(bound.run, batches))
    for batch, maps in zip(batches, found, strict=True):
        assert np.array_equal(maps, session.run(None, {"x": batch})[0])


def test_buffers_for_a_batch_of_a_known_shape_cost_no_run() -> None:
    """On a device the second set is made while it works through a test set: a run too many."""
    session = onnxruntime.InferenceSession(blur(), providers=[CPU])
    runs: list[Any] = []

    class Counted:
        def __getattr__(self, name: str) -> Any:
            return getattr(session, name)

        def run_with_iobinding(self, binding: Any) -> None:
            runs.append(binding)
            session.run_with_iobinding(binding)

    bound = Bound(cast("onnxruntime.InferenceSession", Counted()), "cpu", ordinary)
    batch = np.random.default_rng(0).random((4, 1, 48, 48), np.float32)
    first, second = bound._take(batch), bound._take(batch)  # as two threads at the same time
    assert first is not None and second is not None and first.staged is not second.staged
    assert len(runs) == 1  # which gave the shape of the maps
    expected = session.run(None, {"x": batch})[0]
    for each in (first, second):
        bound._free[batch.shape] = [each]
        assert np.array_equal(bound.run(batch), expected)


def test_nothing_goes_round_the_memory_that_is_made_for_it() -> None:
    made: list[np.ndarray] = []

    def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        made.append(np.full(shape, np.nan, dtype))
        return made[-1]

    session = onnxruntime.InferenceSession(blur(), providers=[CPU])
    bound = Bound(session, "cpu", empty)
    rng = np.random.default_rng(0)
    for _ in range(3):
        batch = rng.random((2, 1, 32, 32), np.float32)
        maps = bound.run(batch)
        assert len(made) == 2  # for the first batch of its shape, and never again
        assert any(np.array_equal(memory, batch) for memory in made)
        assert any(np.array_equal(memory, maps) for memory in made)


def test_a_machine_without_cudas_driver_has_no_pinned_memory() -> None:
    if device_name("cuda") != "unknown":
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(MemoryError, match=r"libcuda|cuInit"):
        PinnedMemory()


def test_no_warning_of_the_runtimes_own_reaches_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With CUDA it warns of a plugin as soon as a session names the provider."""
    (tmp_path / "model.onnx").write_bytes(blur())
    error = 3
    begun: list[int] = []
    monkeypatch.setattr(onnxruntime, "set_default_logger_severity", begun.append)
    real = onnxruntime.InferenceSession

    def session(*words: Any, **options: Any) -> Any:
        assert begun == [error]
        return real(*words, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    open_model(tmp_path / "model.onnx", InferSettings()).close()
    assert begun == [error]


def test_a_file_that_cannot_be_loaded_is_the_models_fault(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"nonsense")
    with pytest.raises(BusbenchError) as refused:
        open_model(tmp_path / "model.onnx", InferSettings())
    assert refused.value.code == "model-failed" and "model.onnx" in refused.value.message


# --- batch size ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "alone, per_image, batch",
    [
        (0.001, {2: 0.001}, 1),  # no gain
        (0.001, {2: 0.0005, 4: 0.0003, 8: 0.0003}, 4),
        (0.001, {2: 0.0005, 4: None}, 2),  # does not fit
        (0.5, {}, 1),  # trying would take longer than it may
        (0.001, {2**n: 0.001 / 2**n for n in range(1, 12)}, MAX_BATCH),
    ],
)
def test_the_batch_size_is_not_doubled_without_a_gain(
    alone: float, per_image: Any, batch: Any
) -> None:
    def try_batch(size: int) -> float | None:
        each = per_image[size]
        return None if each is None else each * size

    assert choose_batch(alone, try_batch) == batch
