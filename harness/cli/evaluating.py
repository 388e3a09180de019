"""`busbench evaluate` of many submissions, or on a cluster: a job each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from harness.cli.app import print_json
from harness.cli.run_view import failures, run_view
from harness.cli.show import print_report
from harness.execution import (
    Chain,
    EvaluateSubmission,
    ExecutionEnvironment,
    open_executor,
    run_chains,
)
from harness.execution.inputs import bundle_input, submission_input
from harness.execution.job import held
from harness.quotas.recording import LedgerRecorder, read_evaluation
from harness.sealing.bundle import Bundles
from harness.sealing.keys import Keys
from harness.submission import read_submission


def evaluate_many(
    submissions: Sequence[Path],
    bundle: Path,
    keys: Keys,
    runs: Path,
    environment: ExecutionEnvironment,
    *,
    ledger: Path | None,
    cluster: str | None,
    inputs: str | None,
    as_json: bool,
) -> None:
    """Evaluate each submission once; one that fails holds up no other."""
    sealed = Bundles.open(bundle).sealed
    tested_on = bundle_input(bundle, "sealed", inputs)
    jobs: dict[str, EvaluateSubmission] = {}
    for folder in submissions:
        facts = read_submission(folder)
        given = submission_input(folder, facts, inputs)
        job = EvaluateSubmission(given, facts, tested_on, sealed, keys.path, runs, environment)
        jobs[job.key] = job

    recorder = None if ledger is None else LedgerRecorder(keys, ledger, environment.challenge)
    with (
        held(runs / ".lock", wait=False),
        run_view() as view,
        open_executor(cluster, view.progress, view.say, gpu=environment.uses_gpu) as executor,
    ):
        chains = [Chain((job,)) for job in jobs.values()]
        state = run_chains(chains, executor, recorder, view.watch)
    ended = [jobs[end.job.key] for end in state.finished if end.error is None]
    done = [read_evaluation(job, keys) for job in ended]
    if as_json:
        reports = [evaluation.report.document() for evaluation in done]
        print_json({"reports": reports, "failed": failures(state)})
    else:
        for evaluation in done:
            print_report(evaluation)
    if state.failed:
        raise typer.Exit(state.status)
