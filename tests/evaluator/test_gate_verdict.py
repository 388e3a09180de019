"""The verdict is read off the files where no model is loaded: no forged load changes it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from evaluator.documents.base import write
from evaluator.documents.inference import GateVerdict
from evaluator.documents.submission import Submission
from evaluator.gate import GateRefused, inspect
from evaluator.gate.subject import GateLimits
from evaluator.gate.verdict import conclude
from tests.support import ROOT
from tests.support.corpus.honest import model_of, submission, tiny, value
from tests.support.corpus.hostile import node


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Submission, GateVerdict]:
    folder = tmp_path_factory.mktemp("submission")
    declared = submission(folder, tiny().SerializeToString())
    return folder, declared, inspect(folder, declared)


def test_no_honest_load_is_doubted(made: Any) -> None:
    folder, declared, left = made
    assert conclude(folder, declared, left) == left


FORGED: dict[str, dict[str, Any]] = {
    "parameters": {"parameters": 0},
    "nodes": {"nodes": 1},
    "opset": {"opset": 1},
    "fold": {"fold": 3},
    "digest": {"sha256": "0" * 64},
    "work": {"gmacs": 10 * GateLimits().model.gmacs},
}


@pytest.mark.parametrize("what", FORGED)
def test_no_forged_figure_of_a_load_is_believed(what: str, made: Any) -> None:
    folder, declared, left = made
    model = left.models[0].model_copy(update=FORGED[what])
    with pytest.raises(GateRefused):
        conclude(folder, declared, left.model_copy(update={"models": (model,)}))


def test_no_model_passes_that_was_not_loaded(made: Any) -> None:
    folder, declared, left = made
    with pytest.raises(GateRefused):
        conclude(folder, declared, left.model_copy(update={"models": ()}))


def test_no_file_passes_that_the_rules_refuse_whatever_its_load_left(
    made: Any, tmp_path: Path
) -> None:
    _, _, left = made
    data = model_of([node("Sin", "x", "y", domain="evil")], [], outputs=[value("y")])
    declared = submission(tmp_path, data.SerializeToString())
    forged = left.models[0].model_copy(update={"sha256": declared.models[0].sha256})
    with pytest.raises(GateRefused) as refused:
        conclude(tmp_path, declared, left.model_copy(update={"models": (forged,)}))
    assert refused.value.findings[0].code != "G-CRASH"


def test_no_runtime_is_loaded_where_the_verdict_is_written(made: Any, tmp_path: Path) -> None:
    folder, declared, left = made
    write(declared, folder / "submission.yaml")  # JSON is YAML
    write(left, tmp_path / "gate.json")
    script = (
        "import sys; from evaluator.__main__ import main\n"
        "status = main(); print(status, 'onnxruntime' in sys.modules)"
    )
    words = ("verdict", "--submission", folder, "--loaded", tmp_path / "gate.json")
    command = [sys.executable, "-c", script, *map(str, words), "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split()[-2:] == ["0", "False"]
    assert (tmp_path / "out" / "gate.json").read_bytes() == (tmp_path / "gate.json").read_bytes()
