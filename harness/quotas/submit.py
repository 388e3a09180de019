"""A submission's whole way: quota, evaluation, ledger, and what its team may read of it.

RUNS/<id>/feedback/feedback.json   for the participant; the rest of RUNS is the organiser's
RUNS/<id>/feedback/cases.parquet   once per-case results are open
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from evaluator.documents.base import write
from evaluator.errors import BusbenchError
from evaluator.files import disk_errors
from harness.challenge import Challenge, Phase
from harness.evaluation.evaluate import Evaluation
from harness.ledger import Appended, append
from harness.quotas import Feedback, HandedIn, SubmissionLog, Submitted, phase_on
from harness.ranking.record import CASES
from harness.sealing.keys import Keys


@dataclass(frozen=True)
class Accepted:
    """A finished evaluation, and what its team may read of it."""

    evaluation: Evaluation
    appended: Appended | None  # null where it was not to be recorded yet
    feedback: Feedback
    folder: Path  # what the participant may have


class RefusedError(BusbenchError):
    """An evaluation that failed, with what its team may read of it."""

    def __init__(self, error: BusbenchError, feedback: Feedback) -> None:
        told = {"stage": error.stage, "last_line": error.last_line}
        super().__init__(error.code, error.message, error.remedy, **told)
        self.feedback = feedback


def today() -> date:
    """The day by which quotas and phases go."""
    return datetime.now(UTC).date()


@dataclass(frozen=True)
class QuotaReservation:
    """A place in a team's quota: taken before anything is run, kept or given back at the end."""

    log: SubmissionLog
    own: Submitted
    phase: Phase
    day: date

    @classmethod
    def take(
        cls, handed_in: HandedIn, ledger: Path, challenge: Challenge, day: date | None = None
    ) -> QuotaReservation:
        """Take one; the same files find theirs again.

        Raises:
            BusbenchError: `phase-closed` or `quota-exceeded`.
        """
        day = day or today()
        phase = phase_on(challenge, day)
        log = SubmissionLog.beside(ledger)
        return cls(log, log.open(handed_in, phase, day), phase, day)

    def failed(self, error: BusbenchError) -> RefusedError:
        """What `error` means to the team; only its own fault keeps the place."""
        return RefusedError(error, self.log.fail(self.own, self.phase, self.day, error))

    def finished(self, evaluation: Evaluation, appended: Appended | None) -> Accepted:
        """What the team may read of a finished evaluation, written for it."""
        feedback = self.log.close(self.own, self.phase, self.day, evaluation.report)
        folder = evaluation.folder / "feedback"
        write(feedback, folder / "feedback.json")
        if feedback.cases_open:
            with disk_errors(folder):
                shutil.copyfile(evaluation.folder / CASES, folder / CASES.name)
        return Accepted(evaluation, appended, feedback, folder)


def submit(
    handed_in: HandedIn,
    ledger: Path,
    keys: Keys,
    challenge: Challenge,
    evaluate: Callable[[], Evaluation],
    day: date | None = None,
    record: bool = True,
) -> Accepted:
    """Evaluate what a team handed in under the challenge's policy, and record it.

    Args:
        evaluate: runs the evaluation, and before it the training where there is one; called once
            the quota allows it.
        day: the UTC day of handing in; today unless told.
        record: whether the ledger gets the report now. Where not, do the same again later: nothing
            is run or counted twice.

    Raises:
        RefusedError: where the evaluation fails; quota is taken only by the submission's own
            faults.
        BusbenchError: `phase-closed` or `quota-exceeded`, before anything is run.
    """
    place = QuotaReservation.take(handed_in, ledger, challenge, day)
    try:
        evaluation = evaluate()
        appended = append(ledger, evaluation.signed, keys) if record else None
    except BusbenchError as error:
        raise place.failed(error) from error
    return place.finished(evaluation, appended)
