"""Stages that get ready while an earlier one runs: the order of decisions stays, none is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from evaluator.errors import BusbenchError
from evaluator.progress import quiet
from harness.challenge import Challenge
from harness.evaluation import known_good
from harness.evaluation.evaluate import EvaluateSubmission
from harness.evaluation.stage_commands import gate_stage, verdict_stage
from harness.execution import ExecutionEnvironment, run_job
from harness.sandbox import process_runner
from harness.sandbox.cached import Context, read_seconds
from harness.sandbox.process_runner import ProcessRunner
from harness.sandbox.stage import Stage
from tests.support import ROOT, is_alive, soon
from tests.support.jobs import Given
from tests.support.small_challenge import Evaluated, SmallChallenge, declare, make_submission

AHEAD = {"verdict", "infer", "score"}
# Tells, of each process of a stage, what files of the run it opens, and what there is by then.
WITNESS = """
import os, sys
sink = os.open(os.environ["WITNESS"], os.O_WRONLY | os.O_APPEND)
run = os.environ["RUN"]
stage = next((word for word in sys.orig_argv if word in ("gate", "verdict", "infer", "score")), "")
def tell(what):
    there = [name for name in ("gate", "verdict", "infer") if os.path.isdir(run + name)]
    os.write(sink, f"{stage} {what} {' '.join(there)}\\n".encode())
def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        path = os.fsdecode(arguments[0])
        for name in ("submission/", "images.age", "labels.age", "infer/"):
            if name in path.removeprefix(run) and "site-packages" not in path:
                tell(name.strip("/"))
if stage:
    tell("begins")
    sys.addaudithook(hook)
"""


@dataclass
class Started:
    """The processes of stages, as they are started."""

    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    commands: list[tuple[str, ...]] = field(default_factory=list)

    @property
    def waiting(self) -> set[str]:
        """The stages that were started ahead."""
        return {words[1] for words in self.commands if "--wait" in words}

    @property
    def cold(self) -> set[str]:
        return {words[1] for words in self.commands if "--wait" not in words}


@pytest.fixture
def started(forked_stages: None, monkeypatch: pytest.MonkeyPatch) -> Started:
    seen, start = Started(), process_runner.start

    def noted(words: Any, environment: Any, *, reads: bool) -> Any:
        process = start(words, environment, reads=reads)
        seen.processes.append(process)
        seen.commands.append(tuple(words))
        return process

    monkeypatch.setattr(process_runner, "start", noted)
    return seen


def job_of(small: SmallChallenge, submission: Path, runs: Path) -> EvaluateSubmission:
    return EvaluateSubmission.of(submission, small.bundles, runs, environment=environment(small))


def environment(small: SmallChallenge) -> ExecutionEnvironment:
    return ExecutionEnvironment("process", small.settings, small.keys.path)


class Witnessed(ProcessRunner):
    """Each stage's process tells what it opens."""

    def __init__(self, folder: Path, run: Path) -> None:
        super().__init__()
        self.log = folder / "witness.log"
        self.log.touch()
        (folder / "sitecustomize.py").write_text(WITNESS)
        self.own = {"WITNESS": str(self.log), "RUN": f"{run}/"}
        self.own["PYTHONPATH"] = f"{folder}:{ROOT}"

    def environment(self, stage: Stage) -> dict[str, str]:
        return super().environment(stage) | self.own


@pytest.mark.slow
def test_no_stage_that_is_started_ahead_reads_anything_before_its_turn(
    evaluated: Evaluated, tmp_path: Path
) -> None:
    small, submission = evaluated.challenge, make_submission(tmp_path / "submission", "ahead")
    runner = Witnessed(tmp_path, job_of(small, submission, tmp_path / "runs").folder)
    given = Given("process", small.settings, small.keys.path, given=runner)
    begun = time.monotonic()
    job = EvaluateSubmission.of(submission, small.bundles, tmp_path / "runs", environment=given)
    run_job(job)
    wall = time.monotonic() - begun
    lines = [line.split() for line in runner.log.read_text().splitlines()]
    begins = {stage: there for stage, what, *there in lines if what == "begins"}
    assert all(begins[stage] == [] for stage in AHEAD)  # else none of them waited
    needs = {"gate": [], "verdict": ["gate"], "infer": ["gate", "verdict"]}
    needs["score"] = ["gate", "verdict", "infer"]
    opened = {(stage, what) for stage, what, *_ in lines}
    assert {("infer", "submission"), ("infer", "images.age"), ("score", "labels.age")} <= opened
    assert ("score", "submission") not in opened and ("infer", "labels.age") not in opened
    assert all(there == needs[stage] for stage, what, *there in lines if what != "begins")
    seconds = job.finished().seconds
    assert [*seconds] == ["gate", "verdict", "infer", "score"]
    assert 0 < sum(seconds.values()) <= wall


def test_no_stage_that_was_started_ahead_is_started_again(
    started: Started, evaluated: Evaluated, tmp_path: Path
) -> None:
    submission = make_submission(tmp_path / "submission", "ahead")
    run_job(job_of(evaluated.challenge, submission, tmp_path / "runs"))
    assert (started.waiting, started.cold) == (AHEAD, {"gate"})


def test_no_refused_submission_leaves_a_process(
    started: Started, evaluated: Evaluated, tmp_path: Path
) -> None:
    submission = declare(make_submission(tmp_path / "submission", "ahead"), b"no model")
    with pytest.raises(BusbenchError) as error:
        run_job(job_of(evaluated.challenge, submission, tmp_path / "runs"))
    assert error.value.code == "gate-refused"
    assert started.waiting == AHEAD
    assert all(process.poll() is not None for process in started.processes)


@pytest.fixture
def loaded(started: Started, tmp_path: Path) -> Path:
    """A folder with a submission of ours, which the gate has loaded."""
    known_good.write_submission(tmp_path / "submission")
    Context(ProcessRunner(), Challenge()).run_once(gate_stage(tmp_path, Challenge()))
    return tmp_path


def test_no_stage_fails_because_its_process_died_before_its_turn(
    started: Started, loaded: Path
) -> None:
    context, stage = Context(ProcessRunner(), Challenge()), verdict_stage(loaded, Challenge())
    with context.ahead([stage]):
        os.kill(started.processes[-1].pid, signal.SIGKILL)
        started.processes[-1].wait()
        context.run_once(stage)
    assert started.cold == {"gate", "verdict"}
    assert [*read_seconds(loaded)] == ["gate", "verdict"]


@pytest.mark.slow
@pytest.mark.parametrize("with_setpriv", [True, False])
def test_no_killed_harness_leaves_a_stage_that_waits(*, with_setpriv: bool, tmp_path: Path) -> None:
    code = textwrap.dedent(
        f"""
        import time
        from pathlib import Path
        from harness.challenge import Challenge
        from harness.evaluation.stage_commands import verdict_stage
        from harness.sandbox import process_runner
        if not {with_setpriv}:
            process_runner.die_with_parent = tuple
        runner = process_runner.ProcessRunner()
        with runner.ahead([verdict_stage(Path({str(tmp_path)!r}), Challenge())]):
            print(*(process.pid for process in runner._waiting.values()), flush=True)
            time.sleep(600)
        """
    )
    words = [sys.executable, "-c", code]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as harness:
        assert harness.stdout is not None
        pid = int(harness.stdout.readline())
        assert is_alive(pid)
        harness.kill()
    soon(lambda: not is_alive(pid), seconds=60)  # it may still import


def test_no_stage_that_must_not_wait_takes_the_option(loaded: Path) -> None:
    stage = gate_stage(loaded, Challenge())
    stage = replace(stage, command=(*stage.command, "--wait"), log=loaded / "again.log")
    with pytest.raises(BusbenchError):
        ProcessRunner().run(replace(stage, output=loaded / "again"), quiet)
    assert "--wait" in (loaded / "again.log").read_text()


def test_no_seconds_that_nobody_measured_are_shown(tmp_path: Path) -> None:
    assert read_seconds(tmp_path) == {}
    (tmp_path / "seconds.json").write_text(json.dumps({"stages": [["gate", "quick"]]}))
    with pytest.raises(BusbenchError, match=r"seconds\.json"):
        read_seconds(tmp_path)
