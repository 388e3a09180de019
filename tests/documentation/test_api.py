"""The page of the Python API: its examples run, and print what it says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT
from tests.support.training_bundle import make_bundle

BLOCKS = re.compile(r"^```(python|text title=\"printed\")\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_no_example_prints_anything_else(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "api.md").read_text("utf-8")
    blocks = BLOCKS.findall(text)
    code = "\n".join(block for kind, block in blocks if kind == "python")
    printed = "".join(block for kind, block in blocks if kind != "python")
    make_bundle(tmp_path / "bundles" / "training", 10)
    shutil.copy(ROOT / "submission_template" / "common" / "dataset.py", tmp_path)
    (tmp_path / "example.py").write_text(f"import sys\nsys.path.append({str(ROOT)!r})\n{code}")
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert code.count("import") >= 5 and done.stdout == printed
