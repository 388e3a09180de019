"""Predictions of anything but every declared model on every sealed case are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from evaluator.documents.base import write
from evaluator.documents.submission import Submission
from evaluator.errors import BusbenchError
from evaluator.files import pretty_json, sha256_file
from evaluator.predictions import DOCUMENT, bits_file, maps_file
from harness.evaluation.evaluate import EvaluateSubmission
from harness.evaluation.sealed_files import SealedFiles, SealedImages
from harness.evaluation.settings import EvaluateSettings
from harness.evaluation.stage_output import require_whole
from harness.evaluation.stages import infer_and_score
from harness.evaluation.validation import ValidateSubmission
from harness.execution import ExecutionEnvironment
from harness.submission import read_submission
from tests.support.small_challenge import Evaluated, make_submission

FOLDS = 5
PASSES = 3  # the plain images, and two windows


class ReachedError(Exception):
    """The scoring began."""


class Tampered:
    """An execution whose inference has been done by somebody else; see `Context`."""

    def __init__(self, challenge: Any) -> None:
        self.challenge, self.progress = challenge, None

    def run_once(self, stage: Any) -> None:
        if stage.name == "score":
            raise ReachedError


@pytest.fixture
def run(evaluated: Evaluated, tmp_path: Path) -> Path:
    """A run's folder: a submission of five folds, and predictions of each on every case."""
    (folder,) = evaluated.runs.iterdir()
    shutil.copytree(folder / "infer", tmp_path / "infer")
    make_submission(tmp_path / "submission")
    submission = read_submission(tmp_path / "submission")
    (one,) = submission.models
    models = tuple(
        one.model_copy(update={"fold": fold, "file": f"{fold}.onnx"}) for fold in range(FOLDS)
    )
    declared = submission.model_copy(update={"models": models})
    write(declared, tmp_path / "submission" / "submission.yaml")
    document = json.loads((tmp_path / "infer" / DOCUMENT).read_text())
    masks = {}
    for moved in range(PASSES):
        source = tmp_path / "infer" / bits_file(None, moved)
        for fold in range(FOLDS):
            shutil.copy(source, tmp_path / "infer" / bits_file(fold, moved))
            masks[bits_file(fold, moved)] = sha256_file(source)
        source.unlink()
    changed = {"folds": [*range(FOLDS)], "masks": masks, "submission_sha256": declared.digest}
    (tmp_path / "infer" / DOCUMENT).write_bytes(pretty_json(document | changed))
    return tmp_path


def scored(evaluated: Evaluated, folder: Path) -> None:
    bundles, keys = evaluated.challenge.bundles, evaluated.challenge.keys
    files = SealedFiles(bundles.images, keys.images.identity, bundles.labels, keys.labels.identity)
    context: Any = Tampered(evaluated.challenge.settings)
    infer_and_score(folder, files, EvaluateSettings(), context=context)


def change(folder: Path, **fields: Any) -> None:
    path = folder / "infer" / DOCUMENT
    path.write_bytes(pretty_json(json.loads(path.read_text()) | fields))


def document_of(folder: Path) -> Any:
    return json.loads((folder / "infer" / DOCUMENT).read_text())


def refused(evaluated: Evaluated, folder: Path) -> str:
    with pytest.raises(BusbenchError) as error:
        scored(evaluated, folder)
    assert error.value.code == "predictions-invalid" and error.value.fault == 10
    return error.value.message


def test_whole_predictions_are_scored(evaluated: Evaluated, run: Path) -> None:
    with pytest.raises(ReachedError):
        scored(evaluated, run)


@pytest.mark.parametrize("kept", [[k] for k in range(FOLDS)] + [[0, 1, 2, 3], [], [None]])
def test_no_best_fold_is_scored_alone(evaluated: Evaluated, run: Path, kept: Any) -> None:
    masks = document_of(run)["masks"]
    names = {bits_file(fold, moved) for fold in kept for moved in range(PASSES)}
    for fold in kept:
        if fold is None:
            for moved in range(PASSES):
                shutil.copy(
                    run / "infer" / bits_file(2, moved), run / "infer" / bits_file(None, moved)
                )
                masks[bits_file(None, moved)] = masks[bits_file(2, moved)]
    change(run, folds=kept, masks={name: masks[name] for name in names})
    refused(evaluated, run)


@pytest.mark.parametrize("fold", range(FOLDS))
def test_no_fold_is_dropped_named_twice_or_added(
    evaluated: Evaluated, run: Path, fold: int
) -> None:
    masks, all_folds = document_of(run)["masks"], [*range(FOLDS)]
    without = {n: d for n, d in masks.items() if not n.startswith(f"fold-{fold}.")}
    change(run, folds=[k for k in all_folds if k != fold], masks=without)
    assert f"lacks the fold {fold}" in refused(evaluated, run)
    change(run, folds=[*all_folds, fold], masks=masks)
    assert "names a fold twice" in refused(evaluated, run)
    for moved in range(PASSES):
        shutil.copy(run / "infer" / bits_file(fold, moved), run / "infer" / bits_file(9, moved))
        masks[bits_file(9, moved)] = masks[bits_file(fold, moved)]
    change(run, folds=[*all_folds, 9], masks=masks)
    assert "adds the fold 9" in refused(evaluated, run)


@pytest.mark.parametrize("passed", ["cases", "transformed"])
@pytest.mark.parametrize("how", ["dropped", "named twice", "renamed", "resized", "all dropped"])
def test_no_case_is_dropped_named_twice_renamed_or_resized(
    evaluated: Evaluated, run: Path, passed: str, how: str
) -> None:
    """Each case in turn, the masks cut to what is then declared."""
    whole = document_of(run)
    rows = whole["cases"] if passed == "cases" else whole["transformed"][-1]
    for place, row in enumerate(rows if how != "all dropped" else rows[:1]):
        others = rows[:place] + rows[place + 1 :]
        changed = {
            "dropped": others,
            "named twice": [*rows, row],
            "renamed": [*others, row | {"case_id": "unknown"}],
            "resized": [*others, row | {"height": row["width"], "width": row["height"]}],
            "all dropped": [],
        }[how]
        if row["height"] == row["width"] and how == "resized":
            continue
        size = sum((each["height"] * each["width"] + 7) // 8 for each in changed)
        masks = dict(whole["masks"])
        for fold in range(FOLDS):
            bits = run / "infer" / bits_file(fold, 0 if passed == "cases" else PASSES - 1)
            if how == "all dropped" and passed == "transformed":
                del masks[bits.name]
                continue
            bits.write_bytes(bytes(size))
            masks[bits.name] = sha256_file(bits)
        others = [] if how == "all dropped" else [changed]
        declared = changed if passed == "cases" else [*whole["transformed"][:-1], *others]
        change(run, **{passed: declared}, masks=masks)
        refused(evaluated, run)


def test_no_digest_is_swapped_dropped_or_added(evaluated: Evaluated, run: Path) -> None:
    masks = document_of(run)["masks"]
    names = [*masks]
    (run / "infer" / names[0]).write_bytes(bytes((run / "infer" / names[0]).stat().st_size))
    masks[names[0]] = sha256_file(run / "infer" / names[0])
    change(run, masks=masks)
    with pytest.raises(ReachedError):
        scored(evaluated, run)
    for name in names[1:]:
        swapped = masks | {names[0]: masks[name], name: masks[names[0]]}
        if swapped != masks:
            change(run, masks=swapped)
            assert "not the file that was predicted" in refused(evaluated, run)
    for name in names:
        change(run, masks={other: d for other, d in masks.items() if other != name})
        refused(evaluated, run)
    change(run, masks=masks | {"fold-7.bits": masks[names[0]]})
    assert "belongs to none of its folds" in refused(evaluated, run)


@pytest.mark.parametrize("field", ["submission_sha256", "split_digest"])
def test_no_predictions_of_another_submission_or_split_are_scored(
    evaluated: Evaluated, run: Path, field: str
) -> None:
    change(run, **{field: "0" * 64})
    assert "is of another" in refused(evaluated, run)


@pytest.mark.parametrize("folds", [[5], [0, 1, 2, 3, 4, 5], [0, 19]])
def test_no_fold_that_the_track_lacks_reaches_inference(
    evaluated: Evaluated, tmp_path: Path, folds: list[int]
) -> None:
    challenge, folder = evaluated.challenge, make_submission(tmp_path / "submission")
    submission = read_submission(folder)
    (one,) = submission.models
    models = []
    for fold in folds:
        shutil.copy(folder / one.file, folder / f"{fold}.onnx")
        models.append(one.model_copy(update={"fold": fold, "file": f"{fold}.onnx"}))
    write(
        Submission.model_validate(submission.document() | {"models": models}),
        folder / "submission.yaml",
    )
    environment = ExecutionEnvironment("process", challenge.settings, challenge.keys.path)
    for make in (
        lambda: EvaluateSubmission.of(
            folder, challenge.bundles, tmp_path / "runs", environment=environment
        ),
        lambda: ValidateSubmission.of(
            folder, challenge.root / "bundles", tmp_path / "runs", environment=environment
        ),
    ):
        with pytest.raises(BusbenchError) as error:
            make()
        assert error.value.code == "submission-invalid" and f"{folds[-1]}.onnx" in f"{error.value}"
    assert not (tmp_path / "runs").exists()


def due(run: Path, settings: EvaluateSettings, evaluated: Evaluated) -> str | None:
    """What is said of the predictions where these settings ran; None where they are whole."""
    bundles, keys = evaluated.challenge.bundles, evaluated.challenge.keys
    files = SealedImages(bundles.images, keys.images.identity)
    try:
        require_whole(run, files, settings)
    except BusbenchError as error:
        assert error.code == "predictions-invalid" and error.stage == "infer"
        return error.message
    return None


def write_maps(run: Path, threshold: float = 0.5) -> None:
    """Add what the infer stage would have written of probabilities."""
    maps = {}
    cases = document_of(run)["cases"]
    for fold in range(FOLDS):
        path = run / "infer" / maps_file(fold)
        path.write_bytes(bytes(sum(case["height"] * case["width"] for case in cases)))
        maps[path.name] = sha256_file(path)
    change(run, maps=maps, threshold=threshold)


def test_probabilities_are_due_where_the_track_asks_and_nowhere_else(
    evaluated: Evaluated, run: Path
) -> None:
    asked, plain = EvaluateSettings(probabilities=True), EvaluateSettings()
    assert due(run, plain, evaluated) is None
    assert "lacks the maps" in (due(run, asked, evaluated) or "")
    write_maps(run)
    assert due(run, asked, evaluated) is None
    assert "adds maps" in (due(run, plain, evaluated) or "")


def test_no_other_threshold_than_the_declared_one_cuts_probabilities(
    evaluated: Evaluated, run: Path
) -> None:
    write_maps(run, threshold=0.3)
    assert due(run, EvaluateSettings(probabilities=True), evaluated) is not None


@pytest.mark.parametrize("how", ["cut", "changed", "of one fold", "unnamed", "linked"])
def test_maps_that_are_not_what_was_predicted_are_refused(
    evaluated: Evaluated, run: Path, how: str
) -> None:
    write_maps(run)
    path = run / "infer" / maps_file(1)
    maps = document_of(run)["maps"]
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-1])
        change(run, maps=maps | {path.name: sha256_file(path)})
    elif how == "changed":
        path.write_bytes(b"\xff" + path.read_bytes()[1:])
    elif how == "of one fold":
        change(run, maps={path.name: maps[path.name]})
    elif how == "unnamed":
        change(run, maps=maps | {"fold-9.maps": maps[path.name]})
    else:
        path.rename(run / "elsewhere")
        path.symlink_to(run / "elsewhere")
    assert due(run, EvaluateSettings(probabilities=True), evaluated) is not None
