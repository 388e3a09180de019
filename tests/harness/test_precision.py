"""A track in float16: compared with fp32 on the validation cases before a test image is read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from evaluator.documents.inference import Precision
from evaluator.errors import BusbenchError
from harness.challenge import Challenge, Track
from harness.cli.show import print_report, print_validation
from harness.declared import StatedTrack, check_track
from harness.evaluation.evaluate import EvaluateSubmission, Evaluation
from harness.evaluation.settings import EvaluateSettings
from harness.execution import ExecutionEnvironment, run_job
from harness.ledger import append, verify_ledger
from harness.ledger.report import Report
from harness.ranking import make_board
from harness.ranking.counting import require_declared
from harness.sandbox.participant_error import ERROR_FILE
from tests.support.factories import make_report
from tests.support.null_device import plug_into_stages
from tests.support.small_challenge import SmallChallenge, make_submission

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Half:
    """A small challenge whose track is in float16."""

    small: SmallChallenge
    runs: Path

    def job(
        self, limit: float = 0.5, precision: Precision = "fp16", *, runs: Path | None = None
    ) -> EvaluateSubmission:
        track = Track(dataset="phantom", split_version="v1", precision="fp16", max_dice_loss=limit)
        challenge = Challenge(tracks={"phantom": track})
        return EvaluateSubmission.of(
            self.small.root / "submission",
            self.small.bundles,
            runs or self.runs,
            environment=ExecutionEnvironment("process", challenge, self.small.keys.path),
            settings=EvaluateSettings("cuda", precision=precision),
        )


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Half]:
    with pytest.MonkeyPatch.context() as patch:
        plug_into_stages(patch)
        small = SmallChallenge.make(tmp_path_factory.mktemp("half"))
        make_submission(small.root / "submission")
        yield Half(small, small.root / "runs")


@pytest.fixture(scope="module")
def evaluation(half: Half) -> Evaluation:
    job = half.job()
    run_job(job)
    return job.finished()


def test_the_report_states_what_the_masks_lose(half: Half, evaluation: Evaluation) -> None:
    report = evaluation.report
    loss = report.precision_loss
    assert report.runtime.precision == "fp16" and report.runtime.fixed_batches == (16,)
    assert loss is not None and loss.precision == "fp16"
    (folder,) = half.runs.glob("val-*")
    cases = pixels = 0
    for place in folder.glob("fold-*"):
        found, wanted = (
            np.unpackbits(np.fromfile(each / "infer" / "fold-all.bits", np.uint8))
            for each in (place, place / "fp32")
        )
        cases += len(json.loads((place / "infer" / "predictions.json").read_text())["cases"])
        pixels += int((found != wanted).sum())
    assert (loss.cases, loss.pixels) == (cases, pixels) and 0 < loss.masks <= cases
    means = [
        np.mean([dice_in(path) for path in folder.glob(f"{pattern}/score/scores.json")])
        for pattern in ("fold-*", "fold-*/fp32")
    ]
    assert [loss.dice, loss.dice_fp32] == pytest.approx(means) and loss.dice_lost != 0


def dice_in(path: Path) -> float:
    """The mean Dice of a fold's scores."""
    scores = json.loads(path.read_text())
    return float(scores["groups"]["all"]["metrics"]["dice"]["mean"])


def test_no_result_is_printed_without_its_loss(
    half: Half, evaluation: Evaluation, capsys: pytest.CaptureFixture[str]
) -> None:
    comparison = half.job().comparison
    assert comparison is not None
    print_validation(comparison.finished())
    print_report(evaluation)
    assert capsys.readouterr().out.count("fp16 against fp32: mean Dice") == 2


def test_no_test_image_is_read_for_masks_that_lose_too_much(
    half: Half, evaluation: Evaluation
) -> None:
    loss = evaluation.report.precision_loss
    assert loss is not None
    assert loss.dice_lost > 1e-3
    job = half.job(limit=loss.dice_lost - 1e-6)
    with pytest.raises(BusbenchError, match=r"its masks lose .* Dice on the") as refused:
        run_job(job)
    assert refused.value.code == "precision-loss" and int(refused.value.fault) == 10
    assert [path.name for path in job.folder.iterdir() if path.name[0] != "."] == [ERROR_FILE]


@pytest.mark.parametrize("asked", ["fp32", "tf32"])
def test_no_result_is_made_in_another_precision_than_the_tracks(
    half: Half, asked: Precision
) -> None:
    with pytest.raises(BusbenchError, match=f"in fp16, and {asked} was asked for") as refused:
        half.job(precision=asked)
    assert refused.value.code == "challenge-invalid"


def test_a_report_in_another_precision_is_no_result_of_the_track() -> None:
    challenge = Challenge(tracks={"t": Track(dataset="d", split_version="v1")})
    assert check_track(challenge, StatedTrack("t", precision="fp32")) is None
    problem = check_track(challenge, StatedTrack("t", precision="fp16"))
    assert problem == "the precision of track t is fp16, and challenge.yaml declares fp32"


def test_no_board_shows_a_loss_over_the_tracks_limit(half: Half, evaluation: Evaluation) -> None:
    loss = evaluation.report.precision_loss
    assert loss is not None and loss.check(loss.dice_lost) is None
    ledger = half.small.root / "ledger.jsonl"
    append(ledger, evaluation.signed, half.small.keys)
    found = verify_ledger(ledger)
    assert make_board(found, half.job().environment.challenge).tracks
    stricter = half.job(limit=loss.dice_lost / 2).environment.challenge
    with pytest.raises(BusbenchError, match="in fp16 its masks lose") as refused:
        require_declared(found, stricter)
    assert refused.value.code == "challenge-invalid"


def test_no_report_is_in_a_precision_whose_loss_it_hides() -> None:
    document = make_report().document()
    document["runtime"] |= {"device": "cuda", "precision": "fp16"}
    with pytest.raises(ValueError, match="of different precisions"):
        Report.model_validate(document)


@pytest.mark.parametrize(
    "stated", [{"precision": "fp16"}, {"max_dice_loss": 0.1}, {"precision": "bf16"}]
)
def test_a_track_states_a_precision_with_its_limit_or_none(stated: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"max_dice_loss|precision"):
        Track.model_validate({"dataset": "d", "split_version": "v1", **stated})
