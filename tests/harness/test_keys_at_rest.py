"""The organiser's keys are on no disk but in the key folder, whenever a run is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest

from harness.evaluation.sealed_files import SealedFiles
from harness.evaluation.stage_commands import infer_stage, ready_stage, score_stage
from harness.quotas.recording import LedgerRecorder
from harness.sandbox import ProcessRunner, Stage
from harness.sandbox.profile import container_settings
from harness.sealing.keys import PUBLICS, SECRETS, Keys
from tests.support import ROOT
from tests.support.small_challenge import SmallChallenge, make_submission

STAGES = ("gate", "infer", "score")
MOMENTS = (0.0, 0.5)  # seconds after a stage's output folder is there
SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallChallenge:
    return SmallChallenge.make(tmp_path_factory.mktemp("challenge"))


class Killed:
    """An evaluation in a process of its own, in folders that nothing else uses."""

    def __init__(self, small: SmallChallenge, work: Path) -> None:
        self.work, self.runs = work, work / "runs"
        (work / "tmp").mkdir()
        submission = make_submission(work / "submission")
        self._words = (
            *("evaluate", submission, "--bundle", small.root / "bundles", "--runner", "process"),
            *("--keys", small.keys.path, "--out", self.runs),
        )
        keys = (small.keys.images, small.keys.labels)
        self._secrets = [key.identity().encode() for key in keys]

    def start(self) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "harness", *map(str, self._words)]
        environment = os.environ | {"TMPDIR": str(self.work / "tmp")}
        return subprocess.Popen(words, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)

    def kill_in(self, stage: str, seconds: float) -> None:
        """Kill it as the kernel would, `seconds` after `stage` has begun."""
        process = self.start()
        while process.poll() is None and not list(self.runs.glob(f"*/{stage}.partial")):
            time.sleep(0.01)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()

    def files_with_a_key(self) -> Iterator[Path]:
        for folder in (self.work, SHARED_MEMORY):
            for path in folder.rglob("*"):
                if path.is_file() and any(key in path.read_bytes() for key in self._secrets):
                    yield path


@pytest.mark.slow
def test_no_kill_leaves_a_key_behind(small: SmallChallenge, tmp_path: Path) -> None:
    run = Killed(small, tmp_path)
    for stage in STAGES:
        for moment in MOMENTS:
            run.kill_in(stage, moment)
            assert list(run.files_with_a_key()) == [], (stage, moment)
    assert run.start().wait() == 0
    assert list(run.runs.glob("*/report.dsse.json"))
    assert list(run.files_with_a_key()) == []


def test_the_search_finds_a_key_that_lies_about(small: SmallChallenge, tmp_path: Path) -> None:
    run = Killed(small, tmp_path)
    left = run.runs / "a" / "left"
    left.parent.mkdir(parents=True)
    left.write_text(f"\n{small.keys.labels.identity()}\n")
    assert list(run.files_with_a_key()) == [left]


def test_what_an_older_version_left_is_removed_and_nothing_else(
    small: SmallChallenge, tmp_path: Path
) -> None:
    runs = tmp_path / "runs"
    theirs = [runs / name / "keys" / "images.key" for name in ("demo", "0" * 15, "g" * 16)]
    left = [runs / ("0" * 16) / "keys" / f"{name}.key" for name in ("images", "labels")]
    for path in (*theirs, *left):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("AGE-SECRET-KEY-1")
    small.evaluate(make_submission(tmp_path / "submission"), runs)
    assert all(path.exists() for path in theirs) and not any(path.exists() for path in left)


def stages_with_a_key(small: SmallChallenge, folder: Path) -> list[Stage]:
    keys, settings = small.keys, small.job(make_submission(folder / "s"), folder).settings
    files = SealedFiles(folder, keys.images.identity, folder, keys.labels.identity)
    infer = infer_stage(folder, files, settings=settings, challenge=small.settings)
    score = score_stage(
        folder,
        folder,
        labels=folder,
        key=keys.labels.identity,
        profile=settings.profile,
        challenge=small.settings,
    )
    return [infer, ready_stage(infer, settings), score]


def test_no_stage_names_its_key_to_the_engine_or_in_print(
    small: SmallChallenge, tmp_path: Path
) -> None:
    for stage in stages_with_a_key(small, tmp_path):
        assert stage.secret is not None
        key = stage.secret()
        settings = container_settings(stage, "sha256:abc", "volume")
        assert settings["stdin_open"] is True
        for said in (repr(settings), repr(stage), repr(ProcessRunner().environment(stage))):
            assert key not in said and str(small.keys.path) not in said


def test_no_stage_gets_the_other_key(small: SmallChallenge, tmp_path: Path) -> None:
    infer, ready, score = (s.secret() for s in stages_with_a_key(small, tmp_path) if s.secret)
    assert infer == ready == small.keys.images.identity()
    assert score == small.keys.labels.identity() != infer


@pytest.mark.parametrize("given", [False, True], ids=["new folder", "empty folder"])
def test_no_half_made_keys_outlive_the_next_start(tmp_path: Path, given: bool) -> None:
    folder = tmp_path / "keys"
    if given:
        folder.mkdir()
    if (child := os.fork()) == 0:

        def write_and_die(partial: Path) -> None:
            (partial / "images.key").write_text("AGE-SECRET-KEY-1KILLED")
            os.kill(os.getpid(), signal.SIGKILL)

        Keys._made(folder, write_and_die)
    os.waitpid(child, 0)
    (left,) = tmp_path.rglob("images.key")
    assert left.parent.stat().st_mode & 0o077 == 0
    Keys.new(folder)
    assert {path.name for path in tmp_path.rglob("*")} == {"keys", ".gitignore", *SECRETS, *PUBLICS}


@pytest.fixture(scope="module")
def evaluated(small: SmallChallenge, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of one evaluation of `submission`, which is beside them."""
    work = tmp_path_factory.mktemp("evaluated")
    small.evaluate(make_submission(work / "submission"), work / "runs")
    return work / "runs"


@pytest.mark.parametrize("before", [None, 0o644, 0o664, 0o600])
def test_no_ledger_is_open_to_others_while_a_phase_hides_scores(
    small: SmallChallenge, evaluated: Path, tmp_path: Path, before: int | None
) -> None:
    day = date(2026, 1, 2)
    hiding = {"name": "p", "steps": {"dice": 0.01}, "results_open": day + timedelta(9)}
    challenge = small.settings.model_validate(small.settings.model_dump() | {"phases": [hiding]})
    ledger = tmp_path / "ledger.jsonl"
    if before is not None:
        ledger.touch()
        ledger.chmod(before)
    job = small.job(evaluated.with_name("submission"), evaluated)
    LedgerRecorder(small.keys, ledger, challenge, day=day).done(job)
    found = [ledger, *tmp_path.glob("ledger.jsonl.*")]
    assert len(found) > 1 and ledger.stat().st_size
    assert [path.name for path in found if path.stat().st_mode & 0o077] == []
