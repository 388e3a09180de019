"""How does the result of an evaluation job get into the ledger, once?"""

from __future__ import annotations

from pathlib import Path

from evaluator.contract import Report, read
from evaluator.files import canonical_json
from harness.challenge import Challenge
from harness.jobs.evaluating import EvaluateSubmission
from harness.jobs.job import JobResult
from harness.lanes.evaluate import Evaluation
from harness.lanes.submit import submit
from harness.ledger import SignedReport, verify_ledger, verify_report
from harness.sealing.keys import Keys

AGAIN = "Remove it, and run the same command again."


def _report_path(job: EvaluateSubmission) -> Path:
    """Where the signed report of a finished evaluation lies."""
    result = read(JobResult, job.result, "output-exists", AGAIN)
    (name,) = result.files
    return (job.result.parent / name).resolve()


def read_evaluation(job: EvaluateSubmission, keys: Keys) -> Evaluation:
    """A finished evaluation; raises `ledger-invalid` where its report does not hold."""
    path = _report_path(job)
    signed = read(SignedReport, path, "ledger-invalid", AGAIN)
    return Evaluation(path.parent, verify_report(path, keys.report), signed)


def record(job: EvaluateSubmission, keys: Keys, ledger: Path, challenge: Challenge) -> None:
    """Hand a finished evaluation in, under the challenge's policy, unless its result is recorded.

    A report made anew differs in its latency alone; it would count the same result twice.

    Raises:
        BusbenchError: `ledger-invalid`, `disk-full`, `phase-closed`, `quota-exceeded`.
    """
    done = read_evaluation(job, keys)
    if ledger.exists() and ledger.stat().st_size:
        known = {_identity(e.report) for e in verify_ledger(ledger, keys.report).reports}
        if _identity(done.report) in known:
            return
    submit(job.submission.path, ledger, keys, challenge, lambda: done)


def _identity(report: Report) -> bytes:
    """What a report says but for how fast it was."""
    document = report.document()
    document["runtime"].pop("latency_ms")
    return canonical_json(document)
