"""Training of the participants' template on a GPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.template import Kind, new_submission
from tests.support.jobs import run
from tests.support.training_bundle import make_bundle

pytestmark = pytest.mark.gpu


@pytest.mark.usefixtures("cuda")
def test_no_template_leaves_a_gpu_idle(tmp_path: Path) -> None:
    new_submission(tmp_path / "mine", Kind.PYTORCH, "team", method="method")
    bundle, out = make_bundle(tmp_path / "bundle", 8, folds=2), tmp_path / "out"
    words = [sys.executable, "train.py", "--bundle", str(bundle), "--quick", "--out", str(out)]
    done = subprocess.run(words, cwd=tmp_path / "mine", capture_output=True, check=True)
    assert b"training on cuda" in done.stdout
    assert run("check", out, "--bundle", bundle, "--runner", "process").returncode == 0
