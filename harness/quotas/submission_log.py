"""Submission log beside the ledger: who submitted what, and what they were shown.

`<ledger>.log.json` is replaced whole under a lock, so that two submissions at once cannot
both take the last of a team's quota, and a killed run leaves the log as it was before or after.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from evaluator.documents.base import CASE_BY_CASE, Contract, read, write
from evaluator.documents.reading import Bounds
from evaluator.errors import BusbenchError, Code
from harness.challenge import Phase
from harness.ledger.report import Report
from harness.locking import locked
from harness.quotas.policy import (
    Feedback,
    HandedIn,
    Submitted,
    admit,
    consumes,
    failure,
    feedback,
    show,
)

REMEDY = "Restore it from a backup: without it, teams could submit without end."


class Pages(Contract):
    """The submission log's document."""

    bounds: ClassVar[Bounds] = CASE_BY_CASE
    schema_: Literal["busbench/submission-log/v1"] = Field(
        default="busbench/submission-log/v1", alias="schema"
    )
    submissions: tuple[Submitted, ...] = ()


@dataclass(frozen=True)
class SubmissionLog:
    """The submission log of one ledger."""

    path: Path

    @classmethod
    def beside(cls, ledger: Path) -> SubmissionLog:
        """The submission log that belongs to `ledger`; both may still be to come."""
        return cls(ledger.with_name(f"{ledger.name}.log.json"))

    @property
    def submissions(self) -> tuple[Submitted, ...]:
        """All that counts so far; raises `feedback-invalid` where the submission log is damaged."""
        if not self.path.exists():
            return ()
        return read(Pages, self.path, Code.FEEDBACK_INVALID, remedy=REMEDY).submissions

    def open(self, handed_in: HandedIn, phase: Phase, day: date) -> Submitted:
        """Reserve a part of the quota, before anything is run.

        A killed run keeps its reservation, and the same submission finds it again.

        Raises:
            BusbenchError: `quota-exceeded` where the team has none left.
        """
        with self._locked() as log:
            own = admit(log, Submitted.now(handed_in, phase, day), phase)
            if own not in log:
                self._write((*log, own))
            return own

    def close(self, own: Submitted, phase: Phase, day: date, *, report: Report) -> Feedback:
        """Note what the team is shown of `report`, once and for all, and give it."""
        with self._locked() as before:
            log, noted = before, _noted(before, own)
            if noted.shown is None:
                shown = show(before, own, report, phase=phase)
                noted = noted.model_copy(update={"shown": shown, "code": None})
                log = self._replace(before, own, noted)
            return feedback(log, noted, phase, day=day, report=report)

    def fail(self, own: Submitted, phase: Phase, day: date, *, error: BusbenchError) -> Feedback:
        """Note a failure. One that is not the submission's gives its reservation back."""
        with self._locked() as before:
            log, noted = before, _noted(before, own)
            if noted.shown is None and noted.code is None:  # else it counts since an earlier run
                counts = consumes(error)
                noted = noted.model_copy(update={"code": error.code}) if counts else noted
                log = self._replace(before, own, noted if counts else None)
            return failure(log, noted, phase, day=day, error=error)

    def _replace(
        self, log: tuple[Submitted, ...], own: Submitted, new: Submitted | None
    ) -> tuple[Submitted, ...]:
        changed = []
        for one in log:
            now = new if _is_same(one, own) else one
            if now is not None:
                changed.append(now)
        self._write(tuple(changed))
        return tuple(changed)

    def _write(self, submissions: tuple[Submitted, ...]) -> None:
        # failures and their reasons are the organiser's
        write(Pages(submissions=submissions), self.path, mode=0o600)

    @contextmanager
    def _locked(self) -> Iterator[tuple[Submitted, ...]]:
        """The submissions so far, for this process alone."""
        with locked(self.path.with_name(f".{self.path.name}.lock")):
            yield self.submissions


def _is_same(one: Submitted, own: Submitted) -> bool:
    return (one.rival, one.submission_sha256) == (own.rival, own.submission_sha256)


def _noted(log: tuple[Submitted, ...], own: Submitted) -> Submitted:
    """How the submission log has `own` now; another process may have finished it meanwhile."""
    return next((one for one in log if _is_same(one, own)), own)
