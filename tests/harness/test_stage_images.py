"""Each image is built from its own lock, and a device meets a runtime that has it."""

from __future__ import annotations

import io
import tarfile
from typing import get_args

import pytest

from harness.challenge import Component, Images
from harness.evaluation.stages import EvaluateSettings
from harness.sandbox.images import build_context


@pytest.mark.parametrize("component", get_args(Component))
def test_no_room_is_built_without_its_own_lock(component: Component) -> None:
    with tarfile.open(fileobj=io.BytesIO(build_context(component, Images()))) as context:
        names = context.getnames()
    assert f"containers/locks/{component}.txt" in names
    assert sum(name.endswith(".Dockerfile") for name in names) == 1


@pytest.mark.parametrize(
    ("settings", "packages"),
    [
        (EvaluateSettings(), {"onnxruntime"}),
        (EvaluateSettings(device="cuda"), {"onnxruntime-gpu", "nvidia-cudnn-cu13"}),
        (EvaluateSettings(device="tensorrt"), {"onnxruntime-gpu", "nvidia-cudnn-cu13"}),
        (EvaluateSettings(backend="triton"), {"onnxruntime", "tritonclient"}),
    ],
)
def test_a_model_never_meets_the_runtime_of_another_device(
    settings: EvaluateSettings, packages: set[str]
) -> None:
    with tarfile.open(fileobj=io.BytesIO(build_context(settings.component, Images()))) as context:
        lock = context.extractfile(f"containers/locks/{settings.component}.txt")
        assert lock is not None
        locked = {line.split("==")[0] for line in lock.read().decode().splitlines()}
    runtimes = {name for name in locked if name.startswith("onnxruntime")}
    assert packages <= locked and runtimes == {name for name in packages if "runtime" in name}
