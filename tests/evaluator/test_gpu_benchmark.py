"""The measurements on a GPU, run where there is none: `tests/gpu` has what needs one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT


def benchmark(out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """`python -m benchmarks.gpu` on the CPU, as small as it gets."""
    small = ("--seconds", "0.1", "--batch", "2", "--cases", "8", "--budget", "400", "--compiled")
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *words, *small, "--out", str(out)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_network_that_fails_never_costs_another_its_line(tmp_path: Path) -> None:
    # 48 pixels are no multiple of UNeXt's 32
    done = benchmark(
        tmp_path, *("--device", "cpu", "--size", "48", "--networks", "unext", "cmunext_s")
    )
    assert done.returncode == 0, done.stderr
    lines = map(json.loads, (tmp_path / "gpu.jsonl").read_text().splitlines())
    found = {(line["network"], line["what"]): line["value"] for line in lines}
    whats = ("ours", "eager", "stage", "stage / ours", "latency")
    assert found.keys() == {("cmunext_s", what) for what in whats} and min(found.values()) > 0
    failed, measured = done.stdout.splitlines()[-2:]
    assert failed.startswith("| unext | – |") and measured.startswith("| cmunext_s | ")
    assert measured.count("–") < failed.count("–")
    assert (tmp_path / "gpu.md").read_text().rstrip() == done.stdout.rstrip()


def test_a_machine_without_a_gpu_is_not_measured_as_one(tmp_path: Path) -> None:
    done = benchmark(tmp_path / "out")
    assert (done.returncode, done.stdout) == (1, "")
    assert "No CUDA device works here" in done.stderr and not (tmp_path / "out").exists()
