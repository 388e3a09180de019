"""The nnU-Net template's options: none that cannot take effect is taken, none is undocumented."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.board.plan import read_plan
from harness.template import Kind, new_submission
from tests.support import ROOT
from tests.support.training_bundle import make_bundle

FIVE_STAGES = {
    "patch_size": [64, 64],
    "batch_size": 2,
    "architecture": {
        "arch_kwargs": {"n_stages": 5, "features_per_stage": [32] * 5, "strides": [[2, 2]] * 5}
    },
}
REFUSED = (
    ({"tile": 100}, "--tile 100: with 5 stages it has to be a multiple of 16, from 64 on."),
    ({"tile": 48}, "--tile 48: with 5 stages it has to be a multiple of 16, from 64 on."),
    ({"maps": [8] * 6}, "--maps has 6 stages, and nnU-Net plans 5 for these images."),
)
# One process for all, since it takes long to import nnU-Net. `--help` ends it.
SCRIPT = """
import json, pathlib, sys, train

def said(function, *words):
    try:
        function(*words)
    except SystemExit as end:
        return str(end)

plans, bundle, out, refused = *map(pathlib.Path, sys.argv[1:4]), json.loads(sys.argv[4])
found = [said(train.shrink, plans, asked) for asked in refused]
sys.argv = ["train.py", "--bundle", str(bundle), "--out", str(out), "--epochs", "3"]
print(json.dumps([*found, said(train.main)]), flush=True)
sys.argv = ["train.py", "--help"]
train.main()
"""


@pytest.fixture(scope="module")
def said(nnunet: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], str]:
    """What is said of each of `REFUSED`, of a training begun otherwise; and the help."""
    folder = tmp_path_factory.mktemp("options")
    new_submission(folder / "mine", Kind.NNUNET, "team", method="method")
    plans, begun = folder / "plans.json", folder / "out" / "work" / "planned.json"
    plans.write_text(json.dumps({"configurations": {"2d": FIVE_STAGES}}))
    begun.parent.mkdir(parents=True)
    begun.write_text(json.dumps({"epochs": 2, "plans": "nnUNetPlans"}))
    places = (plans, make_bundle(folder / "bundle", 4, folds=2), folder / "out")
    asked = json.dumps([sizes for sizes, _ in REFUSED])
    words = [str(nnunet), "-c", SCRIPT, *map(str, places), asked]
    environment = {**os.environ, "PYTHONPATH": str(folder / "mine"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
    first, _, shown = done.stdout.partition("\n")
    return json.loads(first), shown


@pytest.mark.slow
def test_no_size_that_cannot_take_effect_is_taken(said: tuple[list[Any], str]) -> None:
    *sizes, begun = said[0]
    assert sizes == [sentence for _, sentence in REFUSED]
    assert "was begun with other options. Name a new --out" in begun


@pytest.mark.slow
def test_no_option_is_undocumented_or_unknown_to_the_example_board(
    said: tuple[list[Any], str],
) -> None:
    shown = set(re.findall(r"^  (--[a-z-]+)", said[1], re.M))
    page = (ROOT / "docs" / "start-nnunet.md").read_text("utf-8")
    assert shown - {"--bundle", "--out"} == set(re.findall(r"^\| `(--[a-z-]+)` \|", page, re.M))
    board = {word for word in read_plan().templates["nnunet"].options.split() if word[:2] == "--"}
    assert board and board <= shown
