"""A submission's whole way under a policy: what is recorded, what is told, what is kept back."""

from __future__ import annotations

import json
import shutil
from datetime import date
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from evaluator.errors import BusbenchError
from harness.challenge import Phase
from harness.cli import app
from harness.cli import verbs as _verbs  # noqa: F401  registers them
from harness.evaluation.evaluate import Evaluation
from harness.ledger import verify_ledger
from harness.quotas import SubmissionLog
from harness.quotas.submit import Accepted, RefusedError, submit
from harness.submission import read_submission
from tests.harness.conftest import Evaluated

DAY = date(2026, 3, 1)
PHASE = Phase(
    name="final", closes=date(2026, 3, 31), quota=1, steps={"dice": 0.1}, results_open="2026-04-01"
)


@pytest.fixture
def own(evaluated: Evaluated, tmp_path: Path) -> Evaluated:
    """The small challenge with runs of its own and no ledger yet."""
    runs = Path(shutil.copytree(evaluated.runs, tmp_path / "runs"))
    return Evaluated(evaluated.challenge, runs, tmp_path / "ledger.jsonl", evaluated.report)


def hand_in(own: Evaluated, day: date = DAY, fails: BusbenchError | None = None) -> Accepted:
    submission = own.challenge.root / "submission"

    def evaluate() -> Evaluation:
        if fails is not None:
            raise fails
        return own.challenge.evaluate(submission, own.runs)

    settings = own.challenge.settings.model_copy(update={"phases": (PHASE,)})
    return submit(
        read_submission(submission), own.ledger, own.challenge.keys, settings, evaluate, day
    )


def test_a_team_gets_rounded_numbers_and_the_ledger_exact_ones(own: Evaluated) -> None:
    accepted = hand_in(own)
    exact = verify_ledger(own.ledger).reports[0].report.scores.groups["all"].metrics["dice"].mean
    told = json.loads((accepted.folder / "feedback.json").read_bytes())
    assert list(told["scores"]) == ["all"] and list(told["scores"]["all"]) == ["dice"]
    assert told["scores"]["all"]["dice"] == pytest.approx(exact, abs=0.05)
    assert told["scores"]["all"]["dice"] * 10 % 1 == 0
    assert told["left"] == 0
    assert [path.name for path in accepted.folder.iterdir()] == ["feedback.json"]


def test_the_machines_failure_takes_no_quota_and_the_next_run_goes_through(own: Evaluated) -> None:
    broken = BusbenchError("engine-unavailable", "No engine answers.", "Start it.")
    with pytest.raises(RefusedError) as caught:
        hand_in(own, fails=broken)
    assert not caught.value.feedback.counted and caught.value.feedback.left == 1
    assert not own.ledger.exists()
    assert hand_in(own).feedback.left == 0


def test_nothing_is_run_for_a_team_without_quota_or_outside_a_phase(own: Evaluated) -> None:
    ran = BusbenchError("stage-crashed", "It was run.", "It should not have been.")
    with pytest.raises(BusbenchError) as closed:
        hand_in(own, date(2026, 5, 1), fails=ran)
    assert closed.value.code == "phase-closed"
    log = SubmissionLog.beside(own.ledger)
    hand_in(own)
    (other,) = log.submissions
    other = other.model_copy(update={"submission_sha256": "0" * 64})
    page = json.loads(log.path.read_bytes())
    page["submissions"] = [other.document()]  # as if the team had handed in something else
    log.path.write_text(json.dumps(page))
    with pytest.raises(BusbenchError) as used_up:
        hand_in(own, fails=ran)
    assert used_up.value.code == "quota-exceeded"


def test_a_site_with_exact_results_waits_for_their_day(
    own: Evaluated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_in(own)
    declared = yaml.safe_dump({"phases": [PHASE.document()]})
    (tmp_path / "challenge.yaml").write_text(declared)
    command = ["publish", str(own.ledger), "--out", str(tmp_path / "site")]
    command += ["--challenge", str(tmp_path / "challenge.yaml")]
    for day, code in ((DAY, "results-closed"), (date(2026, 4, 1), None)):
        monkeypatch.setattr("harness.cli.results.today", lambda day=day: day)
        error = CliRunner().invoke(app, command).exception
        assert (error.code if isinstance(error, BusbenchError) else error) == code
    assert (tmp_path / "site" / "index.html").exists()


def test_per_case_results_come_when_they_open(own: Evaluated) -> None:
    settings = own.challenge.settings  # no phases: everything is open
    submission = own.challenge.root / "submission"
    accepted = submit(
        read_submission(submission),
        own.ledger,
        own.challenge.keys,
        settings,
        lambda: own.challenge.evaluate(submission, own.runs),
        DAY,
    )
    assert {path.name for path in accepted.folder.iterdir()} == {"feedback.json", "cases.parquet"}
