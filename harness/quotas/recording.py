"""How does the result of an evaluation job get into the ledger, once?"""

from __future__ import annotations

from pathlib import Path

from evaluator.documents.base import read
from evaluator.errors import BusbenchError, Code
from harness.challenge import Challenge
from harness.evaluation.evaluate import Evaluation
from harness.evaluation.job import EvaluateSubmission
from harness.execution.job import Job, JobResult
from harness.ledger import SignedReport, append, verify_ledger, verify_report
from harness.ledger.report import Report
from harness.quotas.submit import QuotaReservation
from harness.sealing.keys import Keys

AGAIN = "Remove it, and run the same command again."


def _report_path(job: EvaluateSubmission) -> Path:
    """Where the signed report of a finished evaluation lies."""
    result = read(JobResult, job.result, Code.OUTPUT_EXISTS, AGAIN)
    (name,) = result.files
    return (job.result.parent / name).resolve()


def read_evaluation(job: EvaluateSubmission, keys: Keys) -> Evaluation:
    """A finished evaluation; raises `ledger-invalid` where its report does not hold."""
    path = _report_path(job)
    signed = read(SignedReport, path, Code.LEDGER_INVALID, AGAIN)
    return Evaluation(path.parent, verify_report(path, keys.report), signed)


class LedgerRecorder:
    """Records finished evaluations, each under its track's policy, as `busbench evaluate` of one.

    A place in the quota is taken before an evaluation is run; a failure that is not the
    submission's gives it back.
    """

    def __init__(self, keys: Keys, ledger: Path, challenge: Challenge) -> None:
        self._keys, self._ledger, self._challenge = keys, ledger, challenge
        self._places: dict[str, QuotaReservation] = {}  # by the key of the job

    def start(self, job: Job) -> None:
        """See `Recorder`; raises `phase-closed` or `quota-exceeded`."""
        if isinstance(job, EvaluateSubmission):
            self._places[job.key] = QuotaReservation.take(job.facts, self._ledger, self._challenge)

    def done(self, job: Job) -> None:
        """See `Recorder`. A report made anew has the identity of the first: it counts once.

        Raises:
            BusbenchError: `ledger-invalid`, `disk-full`, `phase-closed`, `quota-exceeded`.
        """
        if not isinstance(job, EvaluateSubmission):
            return
        done = read_evaluation(job, self._keys)
        known = _is_known(done.report, self._keys, self._ledger)
        if job.key not in self._places:
            if known:
                return
            self.start(job)
        appended = None if known else append(self._ledger, done.signed, self._keys)
        self._places[job.key].finished(done, appended)

    def failed(self, job: Job, error: BusbenchError) -> None:
        """See `Recorder`."""
        if job.key in self._places:
            self._places[job.key].failed(error)


def _is_known(report: Report, keys: Keys, ledger: Path) -> bool:
    if not ledger.exists() or not ledger.stat().st_size:
        return False
    recorded = verify_ledger(ledger, keys.report).reports
    return report.identity() in {entry.report.identity() for entry in recorded}
