"""After a rotation what earlier keys signed still counts; wrong keys are found before any stage."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evaluator.errors import BusbenchError
from harness.cli import app
from harness.evaluation.evaluate import EvaluateSubmission
from harness.execution import ExecutionEnvironment, run_job
from harness.ledger import Retraction, append, known_keys, rotate, sign, verify_ledger
from harness.ledger.provenance import ProvenanceAttestation, trained_here, write_provenance
from harness.quotas import SubmissionLog
from harness.quotas.recording import LedgerRecorder
from harness.sealing.keys import Keys
from harness.submission import read_submission
from tests.support.factories import make_report
from tests.support.small_challenge import Evaluated, SmallChallenge, make_submission


@pytest.fixture
def own(evaluated: Evaluated, tmp_path: Path) -> Evaluated:
    """The small challenge, whose ledger has one result by the first key."""
    runs = Path(shutil.copytree(evaluated.runs, tmp_path / "runs"))
    ledger = Path(shutil.copy(evaluated.ledger, tmp_path / "ledger.jsonl"))
    return Evaluated(evaluated.challenge, runs, ledger, evaluated.report)


@pytest.fixture
def rotated(own: Evaluated, tmp_path: Path) -> list[Keys]:
    """Three keys of one ledger, the last of which signs it now."""
    chain = [own.challenge.keys]
    for number in (2, 3):
        chain.append(chain[-1].renewed(tmp_path / f"keys-{number}"))
        rotate(own.ledger, chain[-2], chain[-1])
    return chain


def job(own: Evaluated, keys: Keys, ledger: Path | None, runs: Path) -> EvaluateSubmission:
    challenge = own.challenge
    environment = ExecutionEnvironment("process", challenge.settings, keys.path, known_keys(ledger))
    folder = challenge.root / "submission"
    return EvaluateSubmission.of(folder, challenge.bundles, runs, environment=environment)


@pytest.mark.parametrize("signer", range(3))
def test_no_key_of_the_chain_is_a_strangers(
    own: Evaluated, rotated: list[Keys], other_keys: Keys, tmp_path: Path, signer: int
) -> None:
    folder = make_submission(tmp_path / "submission")
    submission = read_submission(folder)
    note = ProvenanceAttestation(
        image="sha256:abc", submission_sha256=submission.digest, split_digest="1" * 64
    )
    write_provenance(note, folder, rotated[signer])
    known = known_keys(own.ledger)
    for now in rotated:
        found = trained_here(folder, submission, "1" * 64, keys=now, known_keys=known)
        assert found == "sha256:abc"
    write_provenance(note, folder, other_keys)
    with pytest.raises(BusbenchError) as caught:
        trained_here(folder, submission, "1" * 64, keys=rotated[2], known_keys=known)
    assert caught.value.code == "provenance-invalid"


@pytest.mark.slow
def test_one_submission_and_many_say_the_same_of_an_earlier_keys_note(
    own: Evaluated, rotated: list[Keys], tmp_path: Path
) -> None:
    challenge: SmallChallenge = own.challenge
    folders = [make_submission(tmp_path / name, method=name) for name in ("one", "two")]
    for folder, keys in zip(folders, rotated, strict=False):
        note = ProvenanceAttestation(
            image="sha256:abc",
            submission_sha256=read_submission(folder).digest,
            split_digest=challenge.bundles.sealed.split_digest,
        )
        write_provenance(note, folder, keys)

    def evaluate(runs: str, *submissions: Path) -> list[str | None]:
        words = ["evaluate", *map(str, submissions), "--bundle", str(challenge.bundles.path)]
        words += ["--keys", str(rotated[2].path), "--out", str(tmp_path / runs), "--json"]
        words += ["--ledger", str(own.ledger), "--runner", "process"]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, (done.output, done.exception)
        said = json.loads(done.stdout)
        reports = said.get("reports", [said])
        return [one["provenance"]["trained_here"] for one in reports]

    assert evaluate("single", folders[0]) == ["sha256:abc"]
    assert evaluate("batch", *folders) == ["sha256:abc"] * 2
    assert len(verify_ledger(own.ledger).reports) == 3


def test_no_finished_result_of_an_earlier_key_is_lost_or_counted_twice(
    own: Evaluated, rotated: list[Keys], tmp_path: Path
) -> None:
    found = job(own, rotated[2], own.ledger, own.runs)
    recorder = LedgerRecorder(rotated[2], own.ledger, own.challenge.settings)
    run_job(found, recorder=recorder)
    assert [one.appended and one.appended.new for one in recorder.accepted.values()] == [False]
    assert found.finished().signed.signatures[0].keyid == rotated[2].report.keyid
    assert len(verify_ledger(own.ledger).reports) == 1
    with pytest.raises(BusbenchError, match="another key"):
        job(own, rotated[2], None, own.runs).finished()  # no ledger says whose key it was


def stranger(own: Evaluated, which: str, other: Keys, tmp_path: Path) -> Keys:
    """The organiser's keys with one pair of somebody else's."""
    folder = Path(shutil.copytree(own.challenge.keys.path, tmp_path / "mixed"))
    for end in ("key", "pub"):
        shutil.copy(other.path / f"{which}.{end}", folder / f"{which}.{end}")
    return Keys.open(folder)


@pytest.mark.parametrize("which", ["images", "labels"])
def test_no_stage_runs_with_keys_that_cannot_open_the_bundle(
    own: Evaluated, other_keys: Keys, tmp_path: Path, which: str
) -> None:
    wrong = stranger(own, which, other_keys, tmp_path)
    found = job(own, wrong, None, tmp_path / "none")
    with pytest.raises(BusbenchError) as caught:
        run_job(found)
    assert caught.value.code == "keys-invalid" and str(wrong.path) in caught.value.message
    assert not any((tmp_path / "none").rglob("gate"))


@pytest.mark.parametrize("which", ["stranger", "first", "second", "future"])
def test_no_stage_runs_for_a_ledger_that_takes_no_result(
    own: Evaluated, rotated: list[Keys], other_keys: Keys, tmp_path: Path, which: str
) -> None:
    """Nor is quota taken for it."""
    keys = {"stranger": other_keys, "first": rotated[0], "second": rotated[1]}
    if which == "future":
        append(
            own.ledger,
            sign(make_report(method="later"), rotated[2]),
            rotated[2],
            clock=lambda: "2999-01-01T00:00:00Z",
        )
    signer = keys.get(which, rotated[2])
    found = dataclasses.replace(job(own, own.challenge.keys, None, tmp_path / "none"))
    recorder = LedgerRecorder(signer, own.ledger, own.challenge.settings)
    with pytest.raises(BusbenchError) as caught:
        run_job(found, recorder=recorder)
    assert caught.value.code == "ledger-invalid"
    assert not (tmp_path / "none").exists()
    assert SubmissionLog.beside(own.ledger).submissions == ()


def test_no_retracted_result_is_handed_in_again_unsaid(
    own: Evaluated, caplog: pytest.LogCaptureFixture
) -> None:
    keys = own.challenge.keys
    (entry,) = verify_ledger(own.ledger).reports
    append(own.ledger, Retraction(entry=entry.digest, reason="Trained on test images."), keys)
    with caplog.at_level(logging.WARNING):
        again = append(own.ledger, sign(entry.report, keys), keys)
    assert not again.new and "Trained on test images." in caplog.text
    assert verify_ledger(own.ledger).reports == ()
