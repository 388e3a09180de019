"""A submission's whole way under a policy: what is recorded, shown and withheld."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from evaluator.errors import BusbenchError, Code
from evaluator.progress import Progress
from harness.challenge import Phase
from harness.cli import app
from harness.evaluation.evaluate import EvaluateSubmission
from harness.execution import run_job
from harness.ledger import verify_ledger
from harness.quotas import SubmissionLog
from harness.quotas.recording import Accepted, LedgerRecorder, RefusedError
from tests.support.small_challenge import Evaluated

DAY = date(2026, 3, 1)
PHASE = Phase(
    name="final", closes=date(2026, 3, 31), quota=1, steps={"dice": 0.1}, results_open="2026-04-01"
)


@pytest.fixture
def own(evaluated: Evaluated, tmp_path: Path) -> Evaluated:
    """The small challenge with runs of its own and no ledger yet."""
    runs = Path(shutil.copytree(evaluated.runs, tmp_path / "runs"))
    return Evaluated(evaluated.challenge, runs, tmp_path / "ledger.jsonl", evaluated.report)


@dataclass(frozen=True)
class Failing(EvaluateSubmission):
    """An evaluation that fails when it is run."""

    error: BusbenchError | None = None

    def run(self, progress: Progress) -> None:
        assert self.error is not None
        raise self.error


def hand_in(
    own: Evaluated,
    day: date = DAY,
    fails: BusbenchError | None = None,
    phases: tuple[Phase, ...] = (PHASE,),
) -> Accepted:
    """Evaluate and record the one submission; `fails`: its evaluation was never done, and fails."""
    settings = own.challenge.settings.model_copy(update={"phases": phases})
    job = own.challenge.job(own.challenge.root / "submission", own.runs)
    if fails is not None:
        fields = {f.name: getattr(job, f.name) for f in dataclasses.fields(job)}
        job = Failing(**{**fields, "runs": own.runs.parent / "none"}, error=fails)
    recorder = LedgerRecorder(own.challenge.keys, own.ledger, settings, day=day)
    try:
        run_job(job, recorder=recorder)
    except BusbenchError as error:
        raise recorder.refused.get(job.key, error) from error
    return recorder.accepted[job.key]


def test_a_team_gets_rounded_numbers_and_the_ledger_exact_ones(own: Evaluated) -> None:
    accepted = hand_in(own)
    exact = verify_ledger(own.ledger).reports[0].report.scores.groups["all"].metrics["dice"].mean
    stated = json.loads((accepted.folder / "feedback.json").read_bytes())
    assert list(stated["scores"]) == ["all"] and list(stated["scores"]["all"]) == ["dice"]
    assert stated["scores"]["all"]["dice"] == pytest.approx(exact, abs=0.05)
    assert stated["scores"]["all"]["dice"] * 10 % 1 == 0
    assert stated["left"] == 0
    assert [path.name for path in accepted.folder.iterdir()] == ["feedback.json"]


def test_the_machines_failure_takes_no_quota_and_the_next_run_goes_through(own: Evaluated) -> None:
    broken = BusbenchError(Code.ENGINE_UNAVAILABLE, "No engine answers.", "Start it.")
    with pytest.raises(RefusedError) as caught:
        hand_in(own, fails=broken)
    assert not caught.value.feedback.counted and caught.value.feedback.left == 1
    assert not own.ledger.exists()
    assert hand_in(own).feedback.left == 0


def test_nothing_is_run_for_a_team_without_quota_or_outside_a_phase(own: Evaluated) -> None:
    ran = BusbenchError(Code.STAGE_CRASHED, "It was run.", "It should not have been.")
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
        monkeypatch.setattr("harness.quotas.recording.today", lambda day=day: day)
        error = CliRunner().invoke(app, command).exception
        assert (error.code if isinstance(error, BusbenchError) else error) == code
    assert (tmp_path / "site" / "index.html").exists()


def test_per_case_results_come_when_they_open(own: Evaluated) -> None:
    accepted = hand_in(own, phases=())  # everything is open
    assert {path.name for path in accepted.folder.iterdir()} == {"feedback.json", "cases.parquet"}


def test_a_recorded_submission_never_ends_in_phase_closed(own: Evaluated) -> None:
    hand_in(own)
    recorder = LedgerRecorder(
        own.challenge.keys,
        own.ledger,
        own.challenge.settings.model_copy(update={"phases": (PHASE,)}),
        day=date(2026, 5, 1),
    )
    run_job(own.challenge.job(own.challenge.root / "submission", own.runs), recorder=recorder)
    assert recorder.accepted and len(verify_ledger(own.ledger).reports) == 1
