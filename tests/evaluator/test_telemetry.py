"""ONNX Runtime reports to its maker by default, and starts by giving the machine an identity."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT


def left_at_home(home: Path, program: str) -> list[Path]:
    """What a process leaves in its home: without the variables that CI sets, which hush it too."""
    home.mkdir()
    environment = {"HOME": str(home), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], env=environment, cwd=ROOT, check=True)
    return [path for path in home.rglob("*") if path.is_file()]


@pytest.mark.parametrize("component", ["evaluator", "reference_models", "harness.cli"])
def test_no_component_lets_onnx_runtime_report(tmp_path: Path, component: str) -> None:
    assert left_at_home(tmp_path / "alone", "import onnxruntime")
    assert not left_at_home(tmp_path / "ours", f"import {component}, onnxruntime")
