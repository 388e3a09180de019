"""The time limit of a training holds for all its runs together."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from evaluator.errors import BusbenchError, Code
from evaluator.progress import Progress
from harness.challenge import Challenge, Limits, StageLimits
from harness.sandbox import ProcessRunner, Stage
from harness.sandbox.cached import Context
from harness.training import clock
from harness.training.train import TrainSettings, train
from tests.support import ROOT, soon
from tests.support.image_submissions import CASES, bundle_document

CHALLENGE = Challenge(limits=StageLimits(train=Limits(seconds=3)))


@dataclass
class Interrupted(ProcessRunner):
    """Takes its time, and is stopped by the machine until it is let to end."""

    lasts: float = 2.0
    ends: bool = False
    left: list[float] = field(default_factory=list)

    def run(self, stage: Stage, progress: Progress) -> None:
        self.left.append(stage.seconds_left)
        time.sleep(self.lasts)
        if not self.ends:
            raise BusbenchError(Code.STAGE_STOPPED, "Stopped.", "Again.", stage="train")
        for name, data in CASES["honest"].items():
            (stage.output / name).write_bytes(data)


def attempt(runner: Interrupted, folder: Path) -> BusbenchError | None:
    settings, context = TrainSettings(None, ("run",)), Context(runner, CHALLENGE)
    try:
        train(bundle_document(folder / "training"), folder / "out", settings, context=context)
    except BusbenchError as error:
        return error
    return None


def test_no_run_has_more_time_than_earlier_ones_left(tmp_path: Path) -> None:
    runner = Interrupted()
    codes = [getattr(attempt(runner, tmp_path), "code", None) for _ in range(3)]
    assert codes == ["stage-stopped", "stage-stopped", "limit-time"]
    assert runner.left[0] == 3 and 0 < runner.left[1] <= 1 and len(runner.left) == 2
    stated = (tmp_path / "out.participant-error.json").read_text()
    assert "limit-time" in stated and str(tmp_path) not in stated


def test_no_time_of_what_was_given_up_or_is_done_counts(tmp_path: Path) -> None:
    runner = Interrupted()
    attempt(runner, tmp_path)
    (tmp_path / "out.work").rmdir()
    runner.ends = True
    assert attempt(runner, tmp_path) is None and runner.left == [3, 3]
    assert not (tmp_path / "out.seconds").exists()


KILLED = """
import sys, time
from pathlib import Path
from harness.training import clock
clock.TICK = 0.05
with clock.counted(Path(sys.argv[1]), 100.0):
    time.sleep(600)
"""


def test_no_kill_gives_time_back(tmp_path: Path) -> None:
    notes = tmp_path / "out.seconds"
    harness = subprocess.Popen([sys.executable, "-c", KILLED, str(notes)], cwd=ROOT)
    soon(lambda: clock.read_seconds(notes) > 100 or harness.poll() is not None)
    harness.kill()
    harness.wait()
    assert clock.read_seconds(notes) > 100


@pytest.mark.parametrize("odd", ["", "many", "-7", "nan"])
def test_no_odd_note_stops_a_training(tmp_path: Path, odd: str) -> None:
    (tmp_path / "out.seconds").write_text(odd)
    assert clock.read_seconds(tmp_path / "out.seconds") == 0
