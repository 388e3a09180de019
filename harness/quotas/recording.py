"""Recording of evaluations: quota, ledger, and what each team may read of its own.

RUNS/<id>/feedback/feedback.json   for the participant; the rest of RUNS is the organiser's
RUNS/<id>/feedback/cases.parquet   once per-case results are open; nothing of transformed images

A submission's day is the one on which it was received, and its phase follows from that day. What
its team may read follows from today.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from evaluator.documents.base import write
from evaluator.errors import BusbenchError, Code
from evaluator.files import disk_errors, write_atomically
from evaluator.metrics import METRICS
from harness.challenge import Challenge, HiddenPart, Phase
from harness.declared import StatedTrack, require_hidden
from harness.evaluation.evaluate import EvaluateSubmission, Evaluation
from harness.evaluation.stage_output import CASES
from harness.execution.job import Job
from harness.ledger import Appended, append, require_writable, verify_ledger
from harness.ledger.provenance import provenance_path, trained_here
from harness.quotas.policy import Feedback, HandedIn, Submitted, phase_of, receive
from harness.quotas.submission_log import SubmissionLog
from harness.sealing.keys import Keys
from harness.team_names import one_spelling

# Of `cases.parquet`, what a team may ever read. The rest tells of the secret transforms, which the
# sealed bundle keeps for its whole life, so no results_open opens it.
COLUMNS = (
    *("case_id", "fold", "class", "patient_group", "device"),
    *("status", "height", "width", "lesion_px"),
    *METRICS,
)


@dataclass(frozen=True)
class Accepted:
    """A finished evaluation, and what its team may read of it."""

    evaluation: Evaluation
    appended: Appended | None  # null where it is not recorded yet, as before the end of a final
    feedback: Feedback
    folder: Path  # what the participant may have
    own: Submitted  # its entry of the submission log, before this run ended


class RefusedError(BusbenchError):
    """An evaluation that failed, with what its team may read of it."""

    def __init__(self, error: BusbenchError, feedback: Feedback) -> None:
        super().__init__(**error.fields)
        self.feedback = feedback


def today() -> date:
    """The day by which quotas and phases go."""
    return datetime.now(UTC).date()


@dataclass(frozen=True)
class QuotaReservation:
    """A submission's share of its team's quota.

    It is taken before anything is run, and kept or given back at the end.
    """

    log: SubmissionLog
    own: Submitted
    phase: Phase
    day: date  # today

    @classmethod
    def take(
        cls,
        handed_in: HandedIn,
        ledger: Path,
        challenge: Challenge,
        *,
        day: date,
        received: date | None = None,
    ) -> QuotaReservation:
        """Take one; the same files find theirs again, with the phase in which they came.

        Raises:
            BusbenchError: `phase-closed` or `quota-exceeded`; `feedback-invalid` or
                `challenge-invalid` where the submission log is not the ledger's or the challenge's.
        """
        log = SubmissionLog.beside(ledger)
        log.require_whole(ledger, challenge)
        own = log.open(handed_in, challenge, day, received=received)
        phase = phase_of(own, challenge)
        if not phase.shows_all(day) and ledger.exists():
            with disk_errors(ledger):
                ledger.chmod(0o600)  # a new one is private; one from elsewhere may not be
        return cls(log, own, phase, day)

    def require_part(self, part: HiddenPart) -> None:
        """Refuse an evaluation on another part than the one that the phase scores.

        Raises:
            BusbenchError: `challenge-invalid`.
        """
        if part != self.phase.part:
            own, scored = self.own, self.phase.part
            message = (
                f"{own.method} of {own.team} came in the phase {own.phase}, which scores the part "
                f"{scored}, and this evaluation is on the part {part}."
            )
            remedy = "Evaluate it with `busbench evaluate`, which takes the part of its phase."
            raise BusbenchError(Code.CHALLENGE_INVALID, message, remedy)

    def failed(self, error: BusbenchError) -> RefusedError:
        """What `error` means to the team; only its own fault takes quota."""
        return RefusedError(error, self.log.fail(self.own, self.phase, self.day, error=error))

    def finished(self, evaluation: Evaluation, appended: Appended | None) -> Accepted:
        """What the team may read of a finished evaluation, written for it.

        Of a final, nothing of it is read before all of it is recorded.
        """
        last = self.phase.closes if self.phase.part == "final" else None
        day = self.day if last is None else min(self.day, last)
        feedback = self.log.close(self.own, self.phase, day, report=evaluation.report)
        folder = hand_out(evaluation.folder, feedback)
        return Accepted(evaluation, appended, feedback, folder, self.own)


def part_of(
    handed_in: HandedIn, ledger: Path, challenge: Challenge, *, received: date | None = None
) -> HiddenPart:
    """The part that the phase of a submission scores; of one that no phase takes, `test`.

    Args:
        received: the day on which the organiser states that it came.
    """
    log = SubmissionLog.beside(ledger).submissions
    try:
        own = receive(log, handed_in, challenge, day=today(), received=received)
    except BusbenchError as error:
        if error.code != Code.PHASE_CLOSED:
            raise
        return "test"  # it will be refused by the phase's name
    return phase_of(own, challenge).part


def hand_out(run: Path, feedback: Feedback, scored: Path | None = None) -> Path:
    """Write what the team may read of a finished run; the folder that it may have.

    Args:
        scored: where its cases are, if it was scored anew.

    Raises:
        BusbenchError: `cases-invalid`, `disk-full`.
    """
    folder = run / "feedback"
    write(feedback, folder / "feedback.json")
    _hand_out((scored or run) / CASES, folder / CASES.name, is_open=feedback.cases_open)
    return folder


def _hand_out(cases: Path, copy: Path, *, is_open: bool) -> None:
    """Give the team its per-case results, or take away what an earlier declaration gave.

    Raises:
        BusbenchError: `cases-invalid`, `disk-full`.
    """
    if not is_open:
        with disk_errors(copy.parent):
            return copy.unlink(missing_ok=True)
    try:
        table, sink = pq.read_table(cases), io.BytesIO()
        pq.write_table(table.select([c for c in COLUMNS if c in table.column_names]), sink)
    except (OSError, pa.ArrowException) as error:
        remedy = f"Remove {cases.parents[1]} and run the same command again."
        raise BusbenchError(Code.CASES_INVALID, f"{cases} cannot be read.", remedy) from error
    return write_atomically(copy, sink.getvalue())


class LedgerRecorder:
    """Records finished evaluations under the challenge's policy; a `Recorder` of the engine.

    What comes is noted before anything is run. A reservation is taken before an evaluation is run;
    a failure that is not the submission's gives it back.

    Args:
        entrant: who hands in all jobs of the run, where that is known before the submission is:
            an image that trains first. Null: each evaluation's submission.
        day: the UTC day that is taken for today.
        received: the day on which the organiser states that the submissions came.
        record: whether the ledger gets the reports now. Where not, the same jobs do it later:
            nothing is run or counted twice.
    """

    def __init__(
        self,
        keys: Keys,
        ledger: Path,
        challenge: Challenge,
        *,
        entrant: HandedIn | None = None,
        day: date | None = None,
        received: date | None = None,
        record: bool = True,
    ) -> None:
        self._keys, self._ledger, self._challenge = keys, ledger, challenge
        self._entrant, self._day, self._record = entrant, day or today(), record
        self._received = received
        self._reservations: dict[str, QuotaReservation] = {}  # by the digest of what is handed in
        self.accepted: dict[str, Accepted] = {}  # by the key of the job
        self.refused: dict[str, RefusedError] = {}

    def received(self, jobs: Sequence[Job]) -> None:
        """See `Recorder`; a job that waits past the end of a phase has come in time.

        Raises:
            BusbenchError: `ledger-invalid`, `feedback-invalid` or `challenge-invalid` where ledger,
                keys, submission log and challenge do not belong together.
        """
        require_writable(self._ledger, self._keys)
        log = SubmissionLog.beside(self._ledger)
        log.require_whole(self._ledger, self._challenge)
        found = [handed_in for job in jobs if (handed_in := self._handed_in(job)) is not None]
        log.receive(found, self._challenge, self._day, received=self._received)

    def start(self, job: Job) -> None:
        """See `Recorder`; raises `challenge-invalid`, `phase-closed`, `quota-exceeded`.

        Raises also `ledger-invalid`, where the ledger would not take the result.
        """
        require_writable(self._ledger, self._keys)
        if isinstance(job, EvaluateSubmission):
            split, known = job.trained_on, job.environment.known_keys
            place = job.submission.path
            image = trained_here(place, job.facts, split, keys=self._keys, known_keys=known)
            self._require_origin(job, image)
        self._reserve(job)

    def _require_origin(self, job: EvaluateSubmission, image: str | None) -> None:
        """Refuse a result that would lose, in silence, that the same files were trained here."""
        name = (one_spelling(job.facts.team), job.facts.method, job.cases.track)
        log = SubmissionLog.beside(self._ledger).submissions
        known = {(one_spelling(one.team), one.method, one.track) for one in log}
        if image is not None or name not in known or not self._ledger.exists():
            return
        for entry in verify_ledger(self._ledger).each("reports"):
            made = entry.report.provenance
            same = (made.submission_sha256, made.split_digest)
            if made.trained_here and same == (job.facts.digest, job.cases.split_digest):
                place = job.submission.path
                raise BusbenchError(
                    Code.PROVENANCE_INVALID,
                    f"Entry {entry.number} of {self._ledger} says that these files were trained "
                    f"here, and {provenance_path(place)}, which shows it, is missing.",
                    "Put it there, or evaluate the folder that `busbench train` left. To score "
                    "kept predictions again, use `busbench rescore`.",
                )

    def _reserve(self, job: Job) -> None:
        handed_in = self._handed_in(job)
        if handed_in is None:
            return
        if isinstance(job, EvaluateSubmission):
            require_hidden(self._challenge, job.cases.stated_track, job.bundle.path)
        else:  # of labels, a training bundle says nothing
            require_hidden(self._challenge, StatedTrack(handed_in.track), "challenge.yaml")
        if handed_in.digest not in self._reservations:
            self._reservations[handed_in.digest] = QuotaReservation.take(
                handed_in,
                self._ledger,
                self._challenge,
                day=self._day,
                received=self._received,
            )
        if isinstance(job, EvaluateSubmission):
            self._reservations[handed_in.digest].require_part(job.cases.part)

    def done(self, job: Job) -> None:
        """See `Recorder`. The same result counts once, also where it was computed again.

        Raises:
            BusbenchError: `ledger-invalid`, `disk-full`, and what `start` raises.
        """
        if not isinstance(job, EvaluateSubmission):
            return
        evaluation = job.finished()
        self._require_origin(job, evaluation.report.provenance.trained_here)
        self._reserve(job)
        records = self._record and job.cases.part == "test"  # a final is recorded at its end
        appended = append(self._ledger, evaluation.signed, self._keys) if records else None
        reservation = self._reservation(job)
        assert reservation is not None
        self.accepted[job.key] = reservation.finished(evaluation, appended)

    def failed(self, job: Job, error: BusbenchError) -> None:
        reservation = self._reservation(job)
        if reservation is not None:
            self.refused[job.key] = reservation.failed(error)

    def _handed_in(self, job: Job) -> HandedIn | None:
        if self._entrant is not None:
            return self._entrant
        return job.handed_in if isinstance(job, EvaluateSubmission) else None

    def _reservation(self, job: Job) -> QuotaReservation | None:
        handed_in = self._handed_in(job)
        return None if handed_in is None else self._reservations.get(handed_in.digest)
