"""From a bundle to a submission by the command line: whole, resumable, and in plain words."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from evaluator.documents.base import read
from evaluator.documents.submission import Submission
from evaluator.errors import Code
from evaluator.gate import inspect
from reference_models import pipeline
from reference_models.networks import NETWORKS

pytestmark = pytest.mark.slow

Call = Callable[..., tuple[int, str, str]]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_training_of_all_folds_leaves_a_submission_and_nothing_else(
    call: Call, recipe: Path, bundle_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ("train", "--all-folds", "--config", recipe, "--bundle", bundle_path, "--out", out)
    status, said, _ = call(*words, "--threads", 1)
    assert status == 0
    dices = [float(x) for x in re.findall(r"exported from .*validation Dice ([\d.]+)\)", said)]
    mean, spread = statistics.mean(dices), statistics.stdev(dices)
    found = re.search(r"5 of 5 folds: validation Dice ([\d.]+) ± ([\d.]+)", said)
    assert found is not None and len(dices) == 5
    assert [float(x) for x in found.groups()] == pytest.approx([mean, spread], abs=2e-4)
    assert re.search(r"epoch 3, step 12: loss .*; \d+ s, at most 0 s left", said)
    assert re.search(r"step 5: loss .*, at most \d+ s left", said)
    assert "progress 12/12 training fold 4" in said and "progress 5/5 exporting" in said
    names = {f"fold-{fold}.onnx" for fold in range(5)} | {"submission.yaml"}
    assert contents(out).keys() == names
    verdict = inspect(
        out, read(Submission, out / "submission.yaml", Code.SUBMISSION_INVALID, remedy="")
    )
    assert len(verdict.models) == 5
    before = contents(out)
    status, said, _ = call(*words)
    assert status == 0 and "already contains what was requested" in said
    assert contents(out) == before


@pytest.mark.parametrize("step", ["write_model", "write_document"])
def test_a_kill_while_exporting_never_changes_the_submission(
    step: str,
    call: Call,
    recipe: Path,
    bundle_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def words(name: str, fold: int) -> tuple[object, ...]:
        out = ("--out", tmp_path / name, "--threads", 1)
        return ("train", "--fold", fold, "--config", recipe, "--bundle", bundle_path, *out)

    def killed(*_: object, **__: object) -> str:
        raise SystemExit(9)

    for fold in (0, 1):
        call(*words("whole", fold))
    call(*words("broken", 0))
    with monkeypatch.context() as killing, pytest.raises(SystemExit):
        killing.setattr(pipeline, step, killed)
        call(*words("broken", 1))
    status, said, _ = call(*words("broken", 1))
    assert status == 0 and "2 of 5 folds" in said
    for name in ("fold-0.onnx", "fold-1.onnx", "submission.yaml"):
        assert (tmp_path / "broken" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize(
    ("words", "status", "complaint"),
    [
        (("--config", "unexxt"), 2, "Did you mean 'unext'"),
        (("--config", "unext", "--set", "input.height=200"), 2, "multiples of 32: try 192 x 224"),
        (("--config", "unext", "--set", "loss=dize"), 2, "Did you mean 'dice'"),
        (("--config", "unext", "--fold", "7"), 2, "has no fold 7. Its folds are 0 to 4"),
        (("--config", "unext", "--init", "nowhere.pth"), 2, "nowhere.pth cannot be read"),
        (("--config", "unext", "--method", ""), 2, "cannot be shown on a board"),
        (("--bundle", "nowhere"), 20, "nowhere/bundle.json cannot be read"),
        (("--device", "cuda"), 30, "No CUDA device answers. Use --device cpu"),
        (("--out", str(Path(__file__) / "out")), 30, "cannot be written (Not a directory)"),
    ],
)
def test_what_a_user_did_wrong_is_one_sentence_and_its_status(
    words: tuple[str, ...],
    status: int,
    complaint: str,
    call: Call,
    recipe: Path,
    bundle_path: Path,
    tmp_path: Path,
) -> None:
    fold = () if "--fold" in words else ("--fold", 0)
    usual = ("--config", recipe, "--bundle", bundle_path, "--out", tmp_path / "out", *fold)
    if "--method" in words:
        words = (*words[:-1], "\n")
    found, _, errors = call("train", *usual, *words)
    assert found == status
    assert complaint in errors and errors.startswith("error: ") and errors.count("\n") == 1


@pytest.mark.parametrize("name", ["thesis.doc", "fold-0.onnx"])
def test_a_folder_with_other_files_is_never_taken_for_a_submission(
    call: Call, recipe: Path, bundle_path: Path, tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_text("precious")
    words = ("--config", recipe, "--bundle", bundle_path, "--out", tmp_path)
    status, _, errors = call("train", "--fold", 0, *words)
    assert status == 2 and "does not come from this training" in errors
    assert (tmp_path / name).read_text() == "precious"


def test_an_export_before_any_training_says_what_to_do(
    call: Call, recipe: Path, bundle_path: Path, tmp_path: Path
) -> None:
    words = ("--config", recipe, "--bundle", bundle_path, "--out", tmp_path / "out")
    status, _, errors = call("export", *words)
    assert status == 10 and "contains no finished fold. Train a fold first" in errors


def test_the_claimed_parameters_are_the_networks_own(
    call: Call, recipe: Path, bundle_path: Path, tmp_path: Path
) -> None:
    words = ("--config", recipe, "--bundle", bundle_path, "--out", tmp_path / "out")
    assert call("train", "--fold", 3, *words, "--threads", 1)[0] == 0
    document = yaml.safe_load((tmp_path / "out" / "submission.yaml").read_text())
    assert document["parameters"] == 417_361 and document["models"][0]["fold"] == 3


def test_no_name_that_the_design_fixes_is_missing() -> None:
    fixed = (
        "unet attention_unet unetpp unet3plus unext cmunet cmunext transunet medt swin_unet ukan"
    )
    assert set(fixed.split()) | {"cmunext_s", "cmunext_l", "ukan_s"} == NETWORKS.keys()
