"""Questions change nothing: a job's stage, and the results of a benchmark for its table."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from evaluator.files import sha256_bytes
from harness.benchmark.grid import Cell, Grid, cells
from harness.execution import ExecutionEnvironment
from harness.execution.job import write_result
from harness.submission import DOCUMENT
from tests.support.factories import submission_document
from tests.support.small_challenge import Evaluated, make_submission, model_bytes


def tree(folder: Path) -> dict[Path, int]:
    return {path: path.lstat().st_mtime_ns for path in folder.rglob("*")}


def test_the_stage_of_an_evaluation_is_read_off_its_folder_without_a_runner(
    evaluated: Evaluated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_: object) -> None:
        raise AssertionError("a question opened a runner")

    monkeypatch.setattr("harness.execution.job.open_runner", opened)
    job = evaluated.challenge.job(make_submission(tmp_path / "submission"), tmp_path / "runs")
    assert job.stage is None and not (tmp_path / "runs").exists()
    (job.folder / "infer.partial").mkdir(parents=True)
    before = tree(tmp_path)
    assert job.stage == "infer" and tree(tmp_path) == before


@pytest.fixture
def trained(evaluated: Evaluated, tmp_path: Path) -> Cell:
    """A network whose folds are trained, and which is not evaluated yet."""
    challenge = evaluated.challenge
    recipe = tmp_path / "unext.yaml"
    recipe.write_text("network: unext\n")
    environment = ExecutionEnvironment("process", challenge.settings, challenge.keys.path)
    grid = Grid(
        ("unext",), (challenge.bundles,), {"unext": recipe}, tmp_path / "bench", environment
    )
    (cell,) = cells(grid)
    for fold in cell.folds:
        name, model = f"fold-{fold.fold}.onnx", model_bytes(-2.0)
        fold.submission.mkdir(parents=True)
        (fold.submission / name).write_bytes(model)
        document = submission_document({name: model})
        document["models"] = [{"fold": fold.fold, "file": name, "sha256": sha256_bytes(model)}]
        (fold.submission / DOCUMENT).write_text(yaml.safe_dump(document))
        names = (DOCUMENT, name)
        write_result(fold, {f"submission/{name}": fold.submission / name for name in names})
    return cell


def test_a_benchmarks_table_merges_and_writes_nothing(trained: Cell, tmp_path: Path) -> None:
    before = tree(tmp_path)
    assert trained.finished_evaluation() is None
    assert tree(tmp_path) == before
