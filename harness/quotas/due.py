"""Feedback that is due: what teams may read today of runs that were answered before.

Nothing is run, recorded or counted. Where results have opened since, the per-case results follow;
where challenge.yaml has closed them since, they are taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluator.errors import BusbenchError, Code
from harness.challenge import Challenge, require_hidden
from harness.evaluation.evaluate import REPORT
from harness.ledger import RecordedReport, verify_ledger
from harness.ledger.report import Report
from harness.quotas import recording
from harness.quotas.policy import Feedback, Submitted, feedback, phase_of
from harness.quotas.submission_log import SubmissionLog
from harness.ranking.record import identity_of
from harness.team_names import one_spelling


@dataclass(frozen=True)
class Due:
    """One run, and what its team may read of it."""

    run: Path
    folder: Path  # what the participant may have
    feedback: Feedback


def hand_out_due(runs: Path, ledger: Path, challenge: Challenge) -> list[Due]:
    """Write today's feedback of every run in `runs` that the ledger records.

    Raises:
        BusbenchError: `ledger-invalid`, `feedback-invalid` or `challenge-invalid` where ledger,
            submission log and challenge do not belong together; `usage` where no run is recorded;
            `cases-invalid`, `disk-full`.
    """
    recorded = {one.report.identity(): one for one in verify_ledger(ledger).reports}
    log = SubmissionLog.beside(ledger)
    log.require_whole(ledger, challenge)
    submissions = log.submissions
    found = []
    for path in sorted(runs.glob(f"*/{REPORT}")):
        entry = recorded.get(identity_of(path) or "")
        own = entry and _answered(submissions, entry.report)
        if entry and own:
            found.append((path.parent, entry, own))
    if not found:
        message = f"{runs} contains no run that {ledger} and its submission log know."
        remedy = "Name the folder that `busbench evaluate --out` wrote."
        raise BusbenchError(Code.USAGE, message, remedy)
    return [_hand_out(*one, log=submissions, challenge=challenge) for one in found]


def _hand_out(
    run: Path,
    entry: RecordedReport,
    own: Submitted,
    *,
    log: Sequence[Submitted],
    challenge: Challenge,
) -> Due:
    require_hidden(challenge, entry.report.stated_track, f"Entry {entry.number} of the ledger")
    day = recording.today()
    stated = feedback(log, own, phase_of(own, challenge), day=day, report=entry.report)
    return Due(run, recording.hand_out(run, stated), stated)


def _answered(log: Sequence[Submitted], report: Report) -> Submitted | None:
    """The newest entry of the submission log that this report answered."""
    files, team, identity = (
        report.provenance.submission_sha256,
        one_spelling(report.team),
        report.identity(),
    )
    for one in reversed(log):
        same = (one.submission_sha256, one.track, one_spelling(one.team))
        is_own = one.report == identity or (
            one.report is None and same == (files, report.track, team)  # an older log
        )
        if is_own and one.shown is not None:
            return one
    return None
