"""Train and evaluate through the command line: the same work is done once, whoever asks for it."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from harness.ledger import verify_ledger
from harness.sandbox.cached import read_seconds
from tests.support import ROOT
from tests.support.jobs import SealedTrack, command, run, seal_phantoms, write_recipe
from tests.support.small_challenge import Evaluated, make_submission

pytestmark = pytest.mark.slow


def words(evaluated: Evaluated, root: Path, *submissions: Path) -> tuple[str | Path, ...]:
    challenge = evaluated.challenge
    return (
        "evaluate",
        *submissions,
        "--bundle",
        challenge.root / "bundles",
        "--keys",
        challenge.keys.path,
        "--out",
        root / "runs",
        "--ledger",
        root / "ledger.jsonl",
        "--runner",
        "process",
    )


def test_two_evaluations_of_one_submission_at_once_never_collide(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    asked = words(evaluated, tmp_path, make_submission(tmp_path / "submission"))
    first = subprocess.Popen(command(*asked), cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob("runs/*/gate.partial")):
        assert first.poll() is None, first.communicate()
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)  # or it might be done before the second has begun
    pipe = subprocess.PIPE
    again = command(*asked, "--json")
    second = subprocess.Popen(again, cwd=ROOT, text=True, stdout=pipe, stderr=pipe)
    assert second.stderr is not None
    waiting = "another process does this now; waiting for its result"
    assert any(waiting in line for line in second.stderr)
    first.send_signal(signal.SIGCONT)
    printed, _ = second.communicate()
    assert first.wait() == 0 and second.returncode == 0
    (recorded,) = verify_ledger(tmp_path / "ledger.jsonl").reports
    assert json.loads(printed)["reports"] == [recorded.report.document()]
    (folder,) = (tmp_path / "runs").iterdir()
    assert not [path.name for path in folder.iterdir() if ".lock" in path.name]


def test_a_repeated_evaluation_is_not_run_or_recorded_again_however_it_is_asked_for(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    submission = make_submission(tmp_path / "submission")
    asked = words(evaluated, tmp_path, submission)
    ways = ((), ("--json",), ("--cluster", "local:1", "--json"))
    done = [run(*asked, *more) for more in ways]
    done.append(run(*words(evaluated, tmp_path, submission, submission), "--json"))
    assert [each.returncode for each in done] == [0, 0, 0, 0], done[-1].stderr
    assert [each.stderr.count("done before") for each in done] == [0, 1, 1, 1]
    (folder,) = (tmp_path / "runs").iterdir()
    assert {path.stat().st_mtime_ns for path in folder.glob("gate/gate.json")}
    (recorded,) = verify_ledger(tmp_path / "ledger.jsonl").reports
    printed = [json.loads(each.stdout) for each in done[1:]]
    taken = read_seconds(folder)  # by the one run that there was
    stated = {"reports": [recorded.report.document()], "failed": [], "stage_seconds": [taken]}
    assert printed == [stated] * 3
    assert all(f"{folder}/feedback" in each.stdout for each in done[:1])


@pytest.fixture(scope="module")
def track(tmp_path_factory: pytest.TempPathFactory) -> SealedTrack:
    return seal_phantoms(tmp_path_factory.mktemp("track"))


def test_a_repeated_training_is_kept_with_json_and_without(
    track: SealedTrack, tmp_path: Path
) -> None:
    recipe, out = write_recipe(tmp_path / "unext.yaml", steps=2), tmp_path / "trained"
    trainer = f"train --config {recipe} --bundle {{bundle}} --all-folds --out {{out}} --threads 1"
    asked: tuple[str | Path, ...] = (
        "train",
        "reference",
        "--bundle",
        track.bundles.path / "training",
        "--out",
        out,
    )
    asked += ("--runner", "process", "--command", trainer)
    done = [run(*asked, *more) for more in ((), (), ("--json",))]
    assert [each.returncode for each in done] == [0, 0, 0], done[-1].stderr
    assert [each.stderr.count("done before") for each in done] == [0, 1, 1]
    (trained,) = json.loads(done[2].stdout)["trained"]
    assert trained["folder"] == str(out) and json.loads(done[2].stdout)["failed"] == []
    assert not list(tmp_path.rglob("*.lock"))
