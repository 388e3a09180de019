"""Check before a publication: nothing that a phase hides still, and no half of a final."""

from __future__ import annotations

from pathlib import Path

from evaluator.errors import BusbenchError, Code
from harness.challenge import Challenge
from harness.ledger import LedgerVerdict, RecordedReport, verify_ledger
from harness.quotas import recording
from harness.quotas.policy import require_open
from harness.quotas.submission_log import SubmissionLog


def require_results_open(ledger: Path, challenge: Challenge) -> None:
    """Refuse to publish a ledger of which a phase hides exact results today, or half a final.

    Raises:
        BusbenchError: `results-closed`, `feedback-invalid`, `challenge-invalid`; see
            `harness.quotas.policy.require_open` and `SubmissionLog.require_whole`.
    """
    log, verdict = SubmissionLog.beside(ledger), verify_ledger(ledger)
    reports = (entry.report for entry in verdict.each("reports"))
    require_open(log.submissions, challenge, recording.today(), reports=reports)
    if challenge.phases:  # else it may be a published ledger, on anybody's machine
        log.require_whole(ledger, challenge)
        _require_whole_final(log, verdict, challenge)


def _require_whole_final(log: SubmissionLog, verdict: LedgerVerdict, challenge: Challenge) -> None:
    """Refuse a ledger that lacks results of the final which are ready."""
    phase = challenge.final_phase
    ready = {one.report: one for one in log.submissions if phase and one.phase == phase.name}
    if not ready.keys() - {None}:
        return
    recorded = {one.report.identity() for one in verdict.walk() if isinstance(one, RecordedReport)}
    teams = {one.rival for one in ready.values() if one.report in recorded}
    for report, one in ready.items():
        if report is not None and one.rival not in teams:
            message = f"The final's result of {one.team} on {one.track} is not in the ledger yet."
            remedy = "Record all of the final with `busbench finalise`, then publish."
            raise BusbenchError(Code.RESULTS_CLOSED, message, remedy)
