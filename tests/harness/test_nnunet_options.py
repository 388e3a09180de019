"""The nnU-Net template's options: none is refused without a reason, none is undocumented."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.board.plan import read_plan
from harness.template import Kind, new_submission
from tests.support import ROOT
from tests.support.training_bundle import make_bundle

pytestmark = pytest.mark.slow
Train = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def train(nnunet: Path, tmp_path_factory: pytest.TempPathFactory) -> Train:
    """Run `train.py` of a new project on a bundle of phantoms."""
    folder = tmp_path_factory.mktemp("nnunet-options")
    new_submission(folder / "mine", Kind.NNUNET, "team", method="method")
    bundle = make_bundle(folder / "bundle", 4, folds=2)
    environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [str(nnunet), "train.py", "--bundle", str(bundle), *words]
        return subprocess.run(
            command,
            cwd=folder / "mine",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    ("words", "refused"),
    [
        ("--quick --epochs 2", "--quick decides --epochs"),
        ("--quick --maps 8 16", "--quick decides --maps"),
        ("--steps 0", "'0' is no whole number from 1 on"),
        ("--tile 100 --maps 8 16 32 64", "a multiple of 8, from 32 on"),
        ("--tile 24 --maps 8 16 32 64", "a multiple of 8, from 32 on"),
        ("--maps 8 8 8 8 8 8 8 8 8 8", "--maps has 10 stages, and nnU-Net plans"),
    ],
)
def test_no_size_that_cannot_take_effect_is_taken(
    words: str, refused: str, train: Train, tmp_path: Path
) -> None:
    done = train("--out", str(tmp_path / "out"), *words.split())
    assert done.returncode and refused in done.stderr and "Traceback" not in done.stderr


def test_no_option_is_undocumented_or_unknown_to_the_example_board(train: Train) -> None:
    shown = set(re.findall(r"^  (--[a-z-]+)", train("--out", "out", "--help").stdout, re.M))
    page = (ROOT / "docs" / "start-nnunet.md").read_text("utf-8")
    assert shown - {"--bundle", "--out"} == set(re.findall(r"^\| `(--[a-z-]+)` \|", page, re.M))
    board = {word for word in read_plan().templates["nnunet"].options.split() if word[:2] == "--"}
    assert board and board <= shown
