"""`busbench check`: would the evaluator take this submission? It never touches a label."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from evaluator.documents.base import read
from evaluator.documents.inference import GateVerdict
from evaluator.errors import Code
from evaluator.progress import Progress, quiet
from harness.challenge import Challenge
from harness.sandbox import Runner, Stage
from harness.sandbox.cached import run_once
from harness.submission import take


def gate_stage(submission: Path, out: Path, challenge: Challenge) -> Stage:
    """The gate, which sees the submission alone."""
    return Stage(
        name="gate",
        component="infer",
        command=("gate", "--submission", "{submission}", "--out", "{out}"),
        inputs={"submission": submission},
        output=out,
        limits=challenge.limits.gate,
        log=out.with_name("gate.log"),
    )


def read_verdict(folder: Path) -> GateVerdict:
    """The verdict that a finished gate stage left."""
    remedy = "Run the same command again."
    return read(GateVerdict, folder / "gate.json", Code.STAGE_CRASHED, remedy)


def check(
    folder: Path,
    runner: Runner,
    challenge: Challenge,
    progress: Progress = quiet,
    log: Path | None = None,
) -> GateVerdict:
    """Run the gate on a submission folder.

    Args:
        log: where the gate's whole log goes.

    Raises:
        BusbenchError: `submission-invalid` or `gate-refused`, with the reason.
    """
    with tempfile.TemporaryDirectory(prefix="busbench-check-") as name:
        work = Path(name)
        take(folder, work / "submission")
        stage = gate_stage(work / "submission", work / "gate", challenge)
        return read_verdict(run_once(runner, replace(stage, log=log), progress))
