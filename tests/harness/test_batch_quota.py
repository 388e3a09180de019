"""Many submissions in one command stand under the same policy as one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from harness.challenge import Phase
from harness.ledger import verify_ledger
from harness.quotas import SubmissionLog
from tests.support.factories import submission_document
from tests.support.inference import dice_rolling
from tests.support.jobs import run
from tests.support.small_challenge import Evaluated, make_submission

pytestmark = pytest.mark.slow


def evaluate(
    evaluated: Evaluated, root: Path, submissions: list[Path], *more: str, runner: str = "process"
) -> subprocess.CompletedProcess[str]:
    """`busbench evaluate` of them all, with two places in the quota."""
    settings = evaluated.challenge.settings
    settings = settings.model_copy(update={"phases": (Phase(name="now", quota=2),)})
    (root / "challenge.yaml").write_text(yaml.safe_dump(settings.document()))
    places = ("--bundle", evaluated.challenge.root / "bundles", "--out", root / "runs")
    keys = ("--keys", evaluated.challenge.keys.path, "--ledger", root / "ledger.jsonl")
    how = ("--runner", runner, "--json", "--challenge", root / "challenge.yaml")
    return run("evaluate", *submissions, *places, *keys, *how, *more)


@pytest.fixture
def submissions(tmp_path: Path) -> list[Path]:
    """One that the gate refuses, and two that it takes."""
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "all.onnx").write_bytes(dice_rolling())
    document = submission_document({"all.onnx": dice_rolling()}, team="team")
    (bad / "submission.yaml").write_text(yaml.safe_dump(document))
    good = (make_submission(tmp_path / f"good-{bias}", bias=bias) for bias in (-2.0, -1.0))
    return [bad, *good]


def failed(done: subprocess.CompletedProcess[str]) -> list[str]:
    return sorted(job["code"] for job in json.loads(done.stdout)["failed"])


def test_a_submissions_own_fault_takes_quota_and_who_has_none_left_is_not_run(
    evaluated: Evaluated, submissions: list[Path], tmp_path: Path
) -> None:
    done = evaluate(evaluated, tmp_path, submissions)
    assert done.returncode == 10 and failed(done) == ["gate-refused", "quota-exceeded"], done.stderr
    log = SubmissionLog.beside(tmp_path / "ledger.jsonl").submissions
    assert [(one.code, one.shown is not None) for one in log if one.counts] == [
        ("gate-refused", False),
        (None, True),
    ]
    assert len(list((tmp_path / "runs").glob("*/gate.log"))) == 2
    again = evaluate(evaluated, tmp_path, submissions[:2])
    assert failed(again) == ["gate-refused"]
    assert SubmissionLog.beside(tmp_path / "ledger.jsonl").submissions == log
    assert len(verify_ledger(tmp_path / "ledger.jsonl").reports) == 1


@pytest.mark.usefixtures("engine")
def test_an_engine_without_a_gpu_says_so_before_anything_is_built_or_counted(
    evaluated: Evaluated, submissions: list[Path], tmp_path: Path
) -> None:
    one = submissions[1:2]
    done = evaluate(evaluated, tmp_path, one, "--device", "cuda", runner="docker")
    if done.returncode == 0:
        pytest.skip("this machine has a CUDA device")
    (error,) = json.loads(done.stdout)["failed"]
    assert (done.returncode, error["code"]) == (30, "device-unavailable"), done.stderr
    assert "--device cpu" in error["remedy"] and "Traceback" not in done.stderr
    assert "building" not in done.stderr
    log = SubmissionLog.beside(tmp_path / "ledger.jsonl").submissions
    assert not [one for one in log if one.counts]


def test_the_machines_failures_take_no_quota(
    evaluated: Evaluated, submissions: list[Path], tmp_path: Path
) -> None:
    done = evaluate(evaluated, tmp_path, submissions[1:], "--device", "cuda")
    if done.returncode == 0:
        pytest.skip("this machine has a CUDA device")
    assert done.returncode == 30 and failed(done) == ["device-unavailable"] * 2, done.stderr
    log = SubmissionLog.beside(tmp_path / "ledger.jsonl").submissions
    assert not [one for one in log if one.counts]
    (error, _) = (
        json.loads(p.read_text()) for p in (tmp_path / "runs").glob("*/participant-error.json")
    )
    assert (error["stage"], error["fault"]) == ("ready", "infrastructure")
