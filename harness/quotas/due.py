"""Feedback that is due: what teams may read today of runs that were answered before.

Nothing is run, recorded or counted. Where results have opened since, the per-case results follow;
where challenge.yaml has closed them since, they are taken back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluator.documents.base import Digest
from evaluator.errors import BusbenchError, Code
from harness.challenge import Challenge
from harness.declared import require_hidden
from harness.evaluation.evaluate import REPORT
from harness.ledger import LedgerVerdict, RecordedReport, verify_ledger
from harness.ledger.report import Report
from harness.quotas import recording
from harness.quotas.policy import Feedback, Submitted, feedback, phase_of
from harness.quotas.submission_log import SubmissionLog
from harness.ranking.runs import identity_of, run_folders
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
    verdict, log = verify_ledger(ledger), SubmissionLog.beside(ledger)
    log.require_whole(ledger, challenge)
    before = answers(verdict)
    log.answer_again(scored_anew(before), challenge)
    submissions, folders = log.submissions, run_folders([runs])
    found = []
    for path in sorted(runs.glob(f"*/{REPORT}")):
        entry = before.get(identity_of(path) or "")
        own = entry and _answered(submissions, entry.report)
        if entry and own:
            scored: Path | None = path.parent
            if entry.replaces is not None:
                scored = folders.get(entry.report.identity())
            found.append(_Answered(path.parent, scored, entry, own))
    if not found:
        message = f"{runs} contains no run that {ledger} and its submission log know."
        remedy = "Name the folder that `busbench evaluate --out` wrote."
        raise BusbenchError(Code.USAGE, message, remedy)
    return [_hand_out(one, log=submissions, challenge=challenge) for one in found]


def answers(ledger: LedgerVerdict) -> dict[Digest, RecordedReport]:
    """The reports that count, by their identities and by those of what they replace."""
    by_number = {one.number: one for one in ledger.all_reports}
    found = {}
    for now in ledger.reports:
        one: RecordedReport | None = now
        while one is not None:
            found[one.report.identity()] = now
            one = None if one.replaces is None else by_number[one.replaces]
    return found


def scored_anew(found: Mapping[Digest, RecordedReport]) -> dict[Digest, Report]:
    """Of `answers`, the reports that count in the place of others, by the others' identities."""
    return {said: now.report for said, now in found.items() if now.report.identity() != said}


@dataclass(frozen=True)
class _Answered:
    """One run that was answered before."""

    run: Path
    scored: Path | None  # the folder with the cases of the report that counts; null: it is missing
    entry: RecordedReport
    own: Submitted


def _hand_out(one: _Answered, *, log: Sequence[Submitted], challenge: Challenge) -> Due:
    report, where = one.entry.report, f"Entry {one.entry.number} of the ledger"
    require_hidden(challenge, report.stated_track, where)
    phase, day = phase_of(one.own, challenge), recording.today()
    stated = feedback(log, one.own, phase, day=day, report=report)
    if one.scored is None and stated.cases_open:
        message = f"{one.run} does not contain the cases that {where} is of."
        remedy = "Run `busbench rescore` again, which scores its predictions and records nothing."
        raise BusbenchError(Code.CASES_INVALID, message, remedy)
    return Due(one.run, recording.hand_out(one.run, stated, one.scored), stated)


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
