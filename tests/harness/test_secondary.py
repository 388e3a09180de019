"""Secondary numbers from a whole evaluation to the tables, and what may not take effect."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from pydantic import ValidationError

from evaluator.documents.base import write
from evaluator.documents.scores import RANKED
from evaluator.documents.sealed import MAX_WINDOWS
from evaluator.documents.submission import ModelFile
from evaluator.files import sha256_bytes
from evaluator.metrics.secondary import SECONDARY
from evaluator.predictions import open_predictions
from harness.challenge import Challenge, Reference, Track
from harness.evaluation.evaluate import Evaluation
from harness.ledger import append, verify_ledger
from harness.ranking import Board, make_board, to_csv, to_latex, to_markdown
from harness.ranking.columns import CHOICES, chosen_column
from harness.ranking.worst import FEWEST, worst_groups
from harness.submission import read_submission
from tests.support.command_line import Busbench, Shown, busbench_in
from tests.support.factories import make_group
from tests.support.small_challenge import SmallChallenge, make_submission, model_bytes

FOLDS = 5


@pytest.fixture
def busbench(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Busbench:
    monkeypatch.chdir(tmp_path)  # where no challenge.yaml is

    def called(*words: object) -> Shown:
        return busbench_in(capsys, *words)

    return called


def five_models(folder: Path) -> Path:
    """A submission of five networks that cut at five brightnesses."""
    make_submission(folder)
    declared = read_submission(folder)
    models = []
    for fold in range(FOLDS):
        data = model_bytes(bias=-2.2 + 0.1 * fold)
        (folder / f"{fold}.onnx").write_bytes(data)
        models.append(ModelFile(fold=fold, file=f"{fold}.onnx", sha256=sha256_bytes(data)))
    (folder / "all.onnx").unlink()
    write(declared.model_copy(update={"models": tuple(models)}), folder / "submission.yaml")
    return folder


class Asking(SmallChallenge):
    """A challenge whose track asks for probabilities."""

    @property
    def settings(self) -> Challenge:
        track = Track(
            dataset="phantom",
            split_version="v1",
            probabilities=True,
            reference=Reference(team="Team", method="bright"),
        )
        return Challenge(tracks={"phantom": track})


@pytest.fixture(scope="module")
def challenge(tmp_path_factory: pytest.TempPathFactory) -> Asking:
    root = tmp_path_factory.mktemp("asking")
    made = SmallChallenge.make(root)
    return Asking(made.root, made.keys, made.bundles)


@pytest.fixture(scope="module")
def result(challenge: Asking) -> Evaluation:
    submission = five_models(challenge.root / "submission")
    found = challenge.evaluate(submission, challenge.root / "runs")
    append(challenge.root / "ledger.jsonl", found.signed, challenge.keys)
    return found


@pytest.fixture(scope="module")
def board(challenge: Asking, result: Evaluation) -> Board:
    assert result.report.status == "complete"
    return make_board(verify_ledger(challenge.root / "ledger.jsonl"), challenge.settings)


def test_an_evaluation_reports_every_secondary_number(result: Evaluation) -> None:
    scores = result.report.scores
    assert {*SECONDARY} <= scores.groups["all"].metrics.keys()
    assert scores.ensemble is not None and scores.ensemble.rule == "mean-probability"
    assert scores.ensemble.models == FOLDS and {*SECONDARY} <= scores.ensemble.metrics.keys()
    assert scores.invalid == 0
    consistency = scores.groups["all"].consistency
    assert consistency is not None and consistency.windows == 2
    document = open_predictions(result.folder / "infer")
    assert len(document.maps) == FOLDS and len(document.transformed) == 2


def test_without_the_track_asking_nothing_of_probabilities_is_written(
    challenge: Asking, tmp_path: Path
) -> None:
    plain = SmallChallenge(challenge.root, challenge.keys, challenge.bundles)
    found = plain.evaluate(five_models(tmp_path / "submission"), tmp_path / "runs")
    assert not [*(found.folder / "infer").glob("*.maps")]
    scores = found.report.scores
    assert "brier" not in scores.groups["all"].metrics
    assert scores.ensemble is not None and scores.ensemble.rule == "majority"
    asked = challenge.job(tmp_path / "submission", tmp_path / "runs")
    assert asked.folder != found.folder  # another evaluation, which resumes none of its files


@pytest.mark.parametrize(
    "name",
    [
        *("hd95_relative", "ece", "brier", "recall", "dice@benign", "lesion_f1@all"),
        *("interval:dice", "interval:hd95@lesion", "ensemble:dice", "ensemble:ece"),
        *("worst:dice", "worst:hd95", "gap", "gap-interval", "gap-excess", "latency", "seconds"),
    ],
)
def test_every_column_that_can_be_chosen_is_in_every_format(board: Board, name: str) -> None:
    head = chosen_column(board.tracks[0], name).head
    text = to_markdown(board, (name,))
    assert f"| {head} |" in text
    assert len(text.split("| Rank |")[1].split("\n")[0].split("|")) < 9  # and no other one
    assert to_latex(board, (name,)).count(r"\begin{tabular}") == 1


@pytest.mark.parametrize(
    "name",
    ["", "dise", "dice@scanner", "worst:ece", "worst:dice@benign", "best:dice", "dice:worst"],
)
def test_no_unknown_column_is_passed_over(
    board: Board, challenge: Asking, busbench: Busbench, name: str
) -> None:
    with pytest.raises(ValueError, match=r"column|group|ranked"):
        chosen_column(board.tracks[0], name)
    shown = busbench("table", challenge.root / "ledger.jsonl", "--columns", f"dice,{name}")
    assert shown.status == 2 and "--columns" in shown.err and "ensemble:METRIC" in shown.err


def test_columns_are_refused_where_they_change_nothing(
    challenge: Asking, board: Board, busbench: Busbench
) -> None:
    ledger = challenge.root / "ledger.jsonl"
    for words in (("table", ledger, "--format", "csv"), ("rank", ledger, "--json")):
        refused = busbench(*words, "--columns", "ece")
        assert refused.status == 2 and "--columns would have no effect" in refused.err
    shown = busbench("rank", ledger, "--columns", "ece,worst:dice,ensemble:dice").out
    assert "Calibration" in shown and "Ensemble: Dice ↑" in shown and "IoU" not in shown
    assert board.tracks and "METRIC@GROUP" in CHOICES


def test_a_csv_has_every_secondary_number(board: Board, result: Evaluation) -> None:
    (row,) = csv.DictReader(io.StringIO(to_csv(board)))
    everything = result.report.scores.groups["all"].metrics
    for key in SECONDARY:
        assert float(row[f"all_{key}_mean"]) == everything[key].mean
    ensemble = result.report.scores.ensemble
    assert ensemble is not None and row["ensemble_rule"] == "mean-probability"
    assert float(row["ensemble_dice_mean"]) == ensemble.metrics["dice"].mean
    worst = board.tracks[0].rows[0].worst
    assert row["worst_dice_group"] == (worst["dice"].group if worst else "")


def test_the_worst_subgroup_is_the_worst_of_those_with_patients_enough() -> None:
    def group(dice: float, hd95: float, patients: int) -> object:
        return make_group(dice, dice / 2, hd95).model_copy(update={"patients": patients})

    groups = {
        "all": group(0.1, 99, 50),  # no subgroup
        "lesion": group(0.1, 99, 50),
        "benign": group(0.8, 9, 30),
        "malignant": group(0.7, 12, FEWEST),
        "Q1": group(0.75, 14, FEWEST),
        "device A": group(0.2, 40, FEWEST - 1),  # too few
        "birads 4a": group(0.71, 13, 6),
    }
    found = worst_groups(groups)  # type: ignore[arg-type]
    assert (found["dice"].group, found["dice"].patients) == ("malignant", FEWEST)
    assert (found["hd95"].group, found["hd95"].mean) == ("Q1", 14)
    assert {*found} == {*RANKED}
    few = {name: groups[name] for name in ("all", "benign", "device A")}
    assert worst_groups(few) == {}  # type: ignore[arg-type]


def test_a_track_of_images_alone_cannot_ask_for_probabilities() -> None:
    declared = {"dataset": "phantom", "split_version": "v1", "probabilities": True}
    Track.model_validate(declared | {"accepts": ["onnx", "image"]})
    with pytest.raises(ValidationError, match="probabilities"):
        Track.model_validate(declared | {"accepts": ["image"]})


def test_windows_are_stated_by_the_sealing_and_kept(
    challenge: Asking, busbench: Busbench, tmp_path: Path
) -> None:
    sealed, root = challenge.bundles.sealed, challenge.root
    assert (sealed.consistency, sealed.windows) == (True, 2)
    words = ("seal", root / "store", "--split", root / "splits" / "v1", "--keys", root / "keys")
    other = busbench(*words, "--out", root / "bundles", "--windows", 3)
    assert other.status == 20 and "--windows" in other.err
    assert busbench(*words, "--out", root / "bundles").status == 0  # as they are
    both = busbench(*words, "--out", tmp_path / "b", "--no-consistency", "--windows", 2)
    assert both.status == 2 and "--windows" in both.err
    assert busbench(*words, "--out", tmp_path / "b", "--windows", MAX_WINDOWS + 1).status == 2
    old = sealed.document() | {"schema": "busbench/sealed-bundle/v3"}
    del old["windows"]
    assert type(sealed).model_validate(old).windows == 1


def test_a_reference_is_found_by_team_and_method(board: Board, challenge: Asking) -> None:
    (track,) = board.tracks
    settings = challenge.settings
    other = settings.tracks["phantom"].model_copy(
        update={"reference": Reference(team="team", method="another")}
    )
    declared = settings.model_copy(update={"tracks": {"phantom": other}})
    again = make_board(verify_ledger(challenge.root / "ledger.jsonl"), declared)
    assert (track.reference, again.tracks[0].reference) == (track.rows[0].entry, None)
