"""Memory and energy of an inference, as a GPU tells them."""

from __future__ import annotations

from pathlib import Path

from evaluator.documents.inference import Device, EfficiencyLimits
from evaluator.inference.hardware import device_name
from tests.support.inference import blur, speckle, stage


def test_memory_and_energy_are_never_missing_where_a_gpu_tells_them(
    tmp_path: Path, cuda: Device
) -> None:
    made, name = stage(tmp_path, speckle(40), blur()), device_name(cuda)
    made.infer(device=cuda, efficiency=EfficiencyLimits(device_name=name, gpu_memory_mb=1e6))
    measured = made.runtime.measured
    assert measured.device_name == name
    assert measured.gpu_memory_mb is not None and measured.gpu_memory_mb > 50
    assert measured.energy_j is not None and measured.energy_j >= 0
