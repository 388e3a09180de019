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

from evaluator.contract import write
from evaluator.errors import BusbenchError
from evaluator.files import disk_errors
from harness.challenge import Challenge
from harness.feedback import Book, Feedback, phase_on
from harness.lanes.evaluate import Evaluation
from harness.lanes.intake import read_submission
from harness.lanes.rank import CASES
from harness.ledger import Appended, append
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
        super().__init__(error.code, error.message, error.remedy)
        self.feedback = feedback


def today() -> date:
    """The day by which quotas and phases go."""
    return datetime.now(UTC).date()


def submit(
    submission_folder: Path,
    ledger: Path,
    keys: Keys,
    challenge: Challenge,
    evaluate: Callable[[], Evaluation],
    day: date | None = None,
    record: bool = True,
) -> Accepted:
    """Evaluate a submission under the challenge's policy and record it.

    Args:
        evaluate: runs the evaluation; called once the quota allows it.
        day: the UTC day of handing in; today unless told.
        record: whether the ledger gets the report now. Where not, do the same again later: nothing
            is run or counted twice.

    Raises:
        RefusedError: where the evaluation fails; quota is taken only by the submission's own
            faults.
        BusbenchError: `phase-closed` or `quota-exceeded`, before anything is run.
    """
    day = day or today()
    phase = phase_on(challenge, day)
    book = Book.beside(ledger)
    own = book.open(read_submission(submission_folder), phase, day)
    try:
        evaluation = evaluate()
        appended = append(ledger, evaluation.signed, keys) if record else None
    except BusbenchError as error:
        raise RefusedError(error, book.fail(own, phase, day, error)) from error
    feedback = book.close(own, phase, day, evaluation.report)
    folder = evaluation.folder / "feedback"
    write(feedback, folder / "feedback.json")
    if feedback.cases_open:
        with disk_errors(folder):
            shutil.copyfile(evaluation.folder / CASES, folder / CASES.name)
    return Accepted(evaluation, appended, feedback, folder)
