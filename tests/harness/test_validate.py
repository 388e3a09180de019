"""`--part val`: each fold's model on its own validation cases, and nothing of it in a ledger."""

from __future__ import annotations

import csv
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from evaluator.documents.scores import AwesomeBusScores, GroupScores, MetricSummary, Scores
from evaluator.errors import BusbenchError
from evaluator.metrics import profile_version
from evaluator.sealed import open_sealed
from harness.challenge import Challenge, Track
from harness.cli.show import print_validation
from harness.evaluation.validation import (
    ValidateSubmission,
    Validation,
    merge,
    one_a_fold,
    seal_public,
)
from harness.execution import ExecutionEnvironment, run_job
from harness.sealing.training import TrainingSet
from tests.support import ROOT
from tests.support.containers import predicted_masks
from tests.support.factories import hand_in
from tests.support.inference import blur
from tests.support.training_bundle import make_bundle

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked_stages")]

FOLDS = 2


def validated(folder: Path, bundle: Path, challenge: Challenge = Challenge()) -> Validation:  # noqa: B008
    environment = ExecutionEnvironment("process", challenge)
    job = ValidateSubmission.of(folder, bundle, bundle.parent / "runs", environment=environment)
    run_job(job)
    return job.finished()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("val") / "training", 16, folds=FOLDS)


@pytest.fixture(scope="module")
def validation(bundle: Path) -> Validation:
    folder = hand_in(bundle.parent / "submission", *(blur(fold + 1) for fold in range(FOLDS)))
    return validated(folder, bundle)


def of_fold(bundle: Path, fold: int) -> set[str]:
    with (bundle / "cases.csv").open() as handle:
        return {row["case_id"] for row in csv.DictReader(handle) if int(row["fold"]) == fold}


def test_no_model_is_scored_on_a_case_that_it_trained_on(
    validation: Validation, bundle: Path
) -> None:
    for fold in range(FOLDS):
        masks = predicted_masks(validation.folder / f"fold-{fold}" / "infer")
        assert set(masks) == {fold} and set(masks[fold]) == of_fold(bundle, fold)


def test_the_scores_are_those_of_the_masks_in_the_bundle(
    validation: Validation, bundle: Path
) -> None:
    stated = validation.scores.groups["all"].metrics["dice"]
    found = []
    for fold in range(FOLDS):
        masks = predicted_masks(validation.folder / f"fold-{fold}" / "infer")[fold]
        found.append(np.mean([_dice(m, bundle / "masks" / f"{i}.png") for i, m in masks.items()]))
    assert stated.folds == pytest.approx(found)
    assert stated.mean == pytest.approx(np.mean(found))
    assert stated.std == pytest.approx(np.std(found, ddof=1))
    assert validation.scores.groups["all"].cases == 16


def _dice(mask: np.ndarray, path: Path) -> float:
    truth = np.asarray(Image.open(path).convert("L")) > 127
    both = mask.sum() + truth.sum()
    return 1.0 if both == 0 else float(2 * (mask & truth).sum() / both)


def test_no_image_is_transformed_where_the_participant_can_see_it(validation: Validation) -> None:
    assert all(group.consistency is None for group in validation.scores.groups.values())
    tables = list(validation.folder.rglob("cases.parquet"))
    assert tables
    for path in tables:
        assert not [name for name in pq.read_schema(path).names if "transformed" in name]


def test_a_finished_run_is_not_run_again(validation: Validation, bundle: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in validation.folder.rglob("*.bits")}
    again = validated(bundle.parent / "submission", bundle)
    assert again.scores == validation.scores
    assert {p: p.stat().st_mtime_ns for p in validation.folder.rglob("*.bits")} == before


def test_every_log_is_there(validation: Validation) -> None:
    found = {p.relative_to(validation.folder).as_posix() for p in validation.folder.rglob("*.log")}
    folds = {f"fold-{fold}/{stage}.log" for fold in range(FOLDS) for stage in ("infer", "score")}
    assert found == {"gate.log"} | folds


def val(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", "evaluate", *map(str, words), "--runner", "process"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_line_needs_no_key_and_takes_no_ledger(
    validation: Validation, bundle: Path, tmp_path: Path
) -> None:
    place = bundle.parent
    words = (place / "submission", "--bundle", bundle, "--part", "val", "--out", place / "runs")
    done = val(*words)
    assert done.returncode == 0, done.stderr
    assert "on the cases that it did not train on" in done.stdout
    assert val(*words, "--ledger", tmp_path / "ledger.jsonl").returncode == 2
    assert not (tmp_path / "ledger.jsonl").exists()
    assert val(place / "submission", "--bundle", bundle).returncode == 2  # the test set needs keys


def test_one_model_for_all_folds_is_said_to_have_seen_them(
    validation: Validation, capsys: pytest.CaptureFixture[str]
) -> None:
    model = validation.submission.models[0].model_copy(update={"fold": None})
    single = validation.submission.model_copy(update={"models": (model,)})
    print_validation(replace(validation, submission=single))
    assert "may have trained on" in " ".join(capsys.readouterr().out.split())
    parts = one_a_fold(single, FOLDS)
    assert {fold: part.models for fold, part in parts.items()} == {0: (model,), 1: (model,)}


@pytest.mark.parametrize("name", ["bundle.json", "cases.csv", "images/case-001.png"])
def test_a_bundle_that_is_not_whole_is_refused(tmp_path: Path, name: str) -> None:
    bundle = make_bundle(tmp_path / "training", 4, folds=FOLDS)
    (bundle / name).unlink()
    with pytest.raises(BusbenchError) as refused:
        opened = TrainingSet.open(bundle)
        for case in opened.cases:
            opened.image(case.case)
    assert refused.value.code == "bundle-invalid" and name in str(refused.value)


def test_a_bundle_with_other_folds_than_it_declares_is_refused(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "training", 4, folds=FOLDS)
    table = bundle / "cases.csv"
    table.write_text(table.read_text().replace("case-000,0,", "case-000,1,"))
    with pytest.raises(BusbenchError) as refused:
        TrainingSet.open(bundle)
    assert "was changed" in refused.value.message


@pytest.mark.parametrize("spaced", [0, 1, 5, 6])
def test_no_fold_is_scored_in_another_unit_than_the_others(tmp_path: Path, spaced: int) -> None:
    bundle = make_bundle(tmp_path / "training", 6, folds=FOLDS)
    training = TrainingSet.open(bundle)
    known = {c.case.case_id for c in training.cases[:spaced]}
    cases = tuple(
        replace(c, case=replace(c.case, spacing_mm=(0.1, 0.2))) if c.case.case_id in known else c
        for c in training.cases
    )
    for fold in range(FOLDS):
        chosen = [each.case for each in cases if each.fold == fold]
        files = seal_public(replace(training, cases=cases), chosen, tmp_path / str(fold))
        (tmp_path / "key").write_text(files.label_key())
        with open_sealed(files.labels, tmp_path / "key") as (index, _):
            found = {case.spacing_mm for case in index.cases}
        assert found == {(0.1, 0.2) if spaced == len(cases) else None}


def test_no_mean_over_folds_mixes_units() -> None:
    one, other = (scores(0.5, "all", 3).model_copy(update={"units": {"hd95": u}}) for u in "ab")
    with pytest.raises(ValueError, match="different units"):
        merge([one, other])


def scores(mean: float, group: str, cases: int) -> Scores:
    summary = MetricSummary(mean=mean, std=None, folds=(mean,))
    return Scores(
        metric_profile=profile_version("native").identity,
        units={"dice": ""},
        groups={group: GroupScores(cases=cases, patients=cases, metrics={"dice": summary})},
        awesome_bus_2025=AwesomeBusScores(
            metric_profile=profile_version("awesome-bus-2025").identity,
            metrics={"dice": summary},
            dropped=1,
        ),
        true_negatives=1,
        invalid=0,
        spaced=0,
        predictions_sha256="0" * 64,
        labels_sha256="1" * 64,
    )


def test_a_group_that_a_fold_lacks_is_taken_over_the_others() -> None:
    merged = merge([scores(0.5, "all", 3), scores(0.7, "all", 5), scores(0.9, "normal", 2)])
    assert merged.groups["all"].metrics["dice"].folds == (0.5, 0.7)
    assert merged.groups["all"].metrics["dice"].mean == pytest.approx(0.6)
    assert merged.groups["all"].cases == 8 and merged.true_negatives == 3
    assert merged.groups["normal"].metrics["dice"].std is None


def test_no_case_is_missing_from_the_table_or_its_mean(
    validation: Validation, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (validation.folder / "cases.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert {row["case_id"]: int(row["fold"]) for row in rows} == {
        name: fold for fold in range(FOLDS) for name in of_fold(bundle, fold)
    }
    mean = np.mean([float(row["dice"]) for row in rows])
    assert validation.cases.mean["dice"] == pytest.approx(mean)
    print_validation(validation)
    shown = " ".join(capsys.readouterr().out.split())
    assert f"mean of all cases, each once: dice {mean:.3f}" in shown
    assert "folds' means" in shown and "recall" in shown and "cases.csv" in shown


def test_no_group_that_a_profile_leaves_out_ends_the_table(
    validation: Validation, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`native@2` has no recall of normal images."""
    track = Track(dataset="phantom", split_version="v1", folds=FOLDS, metric_profile="native@2")
    found = validated(bundle.parent / "submission", bundle, Challenge(tracks={"phantom": track}))
    normal, before = (each.scores.groups["normal"].metrics for each in (found, validation))
    assert "recall" in before and "recall" not in normal and normal["dice"] == before["dice"]
    print_validation(found)
    (row,) = (line for line in capsys.readouterr().out.splitlines() if "normal" in line)
    assert row.rstrip(" │").endswith("–")
