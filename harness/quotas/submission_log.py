"""Submission log beside the ledger: who submitted what, and what they were shown.

`<ledger>.log.json` is replaced whole under a lock, so that two submissions at once cannot
both take the last of a team's quota, and a killed run leaves the log as it was before or after.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from evaluator.documents.base import CASE_BY_CASE, Contract, Digest, read, write
from evaluator.documents.reading import Bounds
from evaluator.errors import BusbenchError, Code
from harness.challenge import Challenge, Phase
from harness.ledger import verify_ledger
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
    phase_of,
    receive,
    show,
)

REMEDY = "Restore it from a backup: without it, teams could submit without end."


class Pages(Contract):
    """The submission log's document."""

    bounds: ClassVar[Bounds] = CASE_BY_CASE
    schema_: Literal["busbench/submission-log/v1", "busbench/submission-log/v2"] = Field(
        default="busbench/submission-log/v2", alias="schema"
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

    def require_whole(self, ledger: Path, challenge: Challenge) -> None:
        """Refuse a ledger without its submission log, and a log of another challenge's phases.

        Raises:
            BusbenchError: `feedback-invalid` where the log is missing or damaged;
                `challenge-invalid` where it has phases that `challenge` lacks.
        """
        has_entries = ledger.exists() and ledger.stat().st_size > 0
        if not self.path.exists() and has_entries and verify_ledger(ledger).count("reports"):
            message = f"{ledger} contains results, and its submission log {self.path} is missing."
            raise BusbenchError(Code.FEEDBACK_INVALID, message, REMEDY)
        for one in self.submissions:
            phase_of(one, challenge)

    def receive(
        self,
        handed_in: Iterable[HandedIn],
        challenge: Challenge,
        day: date,
        *,
        received: date | None = None,
    ) -> None:
        """Note that submissions came, before anything is run; they count when their turn comes.

        What comes outside the phases is left out: `open` refuses it.
        """
        with self._locked() as before:
            log = before
            for one in handed_in:
                try:
                    own = receive(log, one, challenge, day=day, received=received)
                except BusbenchError as error:
                    if error.code != Code.PHASE_CLOSED:
                        raise
                else:
                    log = _with(log, own)
            if log != before:
                self._write(log)

    def open(
        self,
        handed_in: HandedIn,
        challenge: Challenge,
        day: date,
        *,
        received: date | None = None,
    ) -> Submitted:
        """Reserve a part of the quota, before anything is run.

        A killed run keeps its reservation, and the same submission finds it again.

        Raises:
            BusbenchError: `quota-exceeded` where the team has none left, and what
                `harness.quotas.policy.receive` raises.
        """
        with self._locked() as log:
            own = admit(log, handed_in, challenge, day=day, received=received)
            if own not in log:
                self._write(_with(log, own))
            return own

    def close(self, own: Submitted, phase: Phase, day: date, *, report: Report) -> Feedback:
        """Note what the team is shown of `report`, once and for all, and give it."""
        with self._locked() as before:
            log, noted = before, _noted(before, own)
            if noted.shown is None:
                shown = show(before, own, report, phase=phase)
                answer = {"shown": shown, "code": None, "report": report.identity()}
                noted = noted.model_copy(update=answer)
                self._write(log := _with(before, noted))
            return feedback(log, noted, phase, day=day, report=report)

    def answer_again(self, scored: Mapping[Digest, Report], challenge: Challenge) -> int:
        """Show, by the same policy, what reports say that took the place of those answered before.

        Doing it again changes nothing.

        Args:
            scored: by the identity of the report that was answered, the one that counts now.

        Returns:
            How many answers changed.
        """
        with self._locked() as before:
            log: list[Submitted] = []
            for one in before:
                report = scored.get(one.report or "")
                if report is not None and one.shown is not None:
                    shown = show(log, one, report, phase=phase_of(one, challenge))
                    answer = {"shown": shown, "report": report.identity()}
                    log.append(one.model_copy(update=answer))
                else:
                    log.append(one)
            changed = sum(old != new for old, new in zip(before, log, strict=True))
            if changed:
                self._write(tuple(log))
            return changed

    def fail(self, own: Submitted, phase: Phase, day: date, *, error: BusbenchError) -> Feedback:
        """Note a failure. One that is not the submission's no longer counts; its day is kept."""
        with self._locked() as before:
            log, noted = before, _noted(before, own)
            if noted.shown is None and noted.code is None:  # else it counts since an earlier run
                ended = {"code": error.code} if consumes(error) else {"counts": False}
                self._write(log := _with(before, noted.model_copy(update=ended)))
            return failure(log, noted, phase, day=day, error=error)

    def _write(self, submissions: tuple[Submitted, ...]) -> None:
        # failures and their reasons are the organiser's
        write(Pages(submissions=submissions), self.path, mode=0o600)

    @contextmanager
    def _locked(self) -> Iterator[tuple[Submitted, ...]]:
        """The submissions so far, for this process alone."""
        with locked(self.path.with_name(f".{self.path.name}.lock")):
            yield self.submissions


def _with(log: tuple[Submitted, ...], new: Submitted) -> tuple[Submitted, ...]:
    """The log with `new` in the place of its earlier state, or at the end."""
    if any(one.is_same(new) for one in log):
        return tuple(new if one.is_same(new) else one for one in log)
    return (*log, new)


def _noted(log: tuple[Submitted, ...], own: Submitted) -> Submitted:
    """How the submission log has `own` now; another process may have finished it meanwhile."""
    return next((one for one in log if one.is_same(own)), own)
