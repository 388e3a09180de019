"""Disk space for the tests: a full disk is met before a run, not within."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT


@pytest.mark.parametrize(("chosen", "status"), [((), 4), ((__file__,), 0)], ids=["all", "one file"])
def test_all_tests_never_begin_without_disk_space(
    chosen: tuple[str, ...], status: int, tmp_path: Path
) -> None:
    """Some of them may."""
    (tmp_path / "small_disk.py").write_text(
        "import shutil, types\nshutil.disk_usage = lambda path: types.SimpleNamespace(free=3.9e9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "small_disk", "--collect-only", "-q", *chosen],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    message = f"All tests need 4 GB of disk, and {tmp_path} has 3.9 GB: free some of it"
    assert (message in done.stderr) == bool(status)
