"""`busbench evaluate` of many submissions, or on a cluster: a job each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from harness.cli.app import print_json
from harness.cli.show import print_report
from harness.cli.standing import failures, standing_view
from harness.jobs import Chain, EvaluateSubmission, Site, open_executor, run_chains
from harness.jobs.inputs import bundle_input, submission_input
from harness.jobs.job import held
from harness.jobs.recording import LedgerRecorder, read_evaluation
from harness.lanes.intake import read_submission
from harness.sealing.bundle import Bundles
from harness.sealing.keys import Keys


def evaluate_many(
    submissions: Sequence[Path],
    bundle: Path,
    keys: Keys,
    runs: Path,
    site: Site,
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
        job = EvaluateSubmission(given, facts, tested_on, sealed, keys.path, runs, site)
        jobs[job.key] = job

    recorder = None if ledger is None else LedgerRecorder(keys, ledger, site.challenge)
    with (
        held(runs / ".lock", wait=False),
        standing_view() as view,
        open_executor(cluster, view.progress, view.say, gpu=site.uses_gpu) as executor,
    ):
        chains = [Chain((job,)) for job in jobs.values()]
        standing = run_chains(chains, executor, recorder, view.watch)
    ended = [jobs[end.job.key] for end in standing.finished if end.error is None]
    done = [read_evaluation(job, keys) for job in ended]
    if as_json:
        reports = [evaluation.report.document() for evaluation in done]
        print_json({"reports": reports, "failed": failures(standing)})
    else:
        for evaluation in done:
            print_report(evaluation)
    if standing.failed:
        raise typer.Exit(standing.status)
