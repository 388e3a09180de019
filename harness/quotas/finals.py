"""The final: what was run on the final part, recorded in one go when its phase is over.

A result is ready in the submission log before any is in the ledger, and `publish` refuses a ledger
that lacks one that is ready: so a kill in between leaves nothing that passes for a whole final.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from evaluator.documents.base import Digest
from evaluator.errors import BusbenchError, Code
from harness.challenge import Phase
from harness.evaluation.evaluate import EvaluateSubmission, Evaluation
from harness.evaluation.settings import EvaluateSettings
from harness.evaluation.stage_output import RESCORED
from harness.execution.job import ExecutionEnvironment
from harness.ledger import Appended, RecordedReport, append, require_writable, verify_ledger
from harness.ledger.provenance import ProvenanceAttestation, write_provenance
from harness.quotas.finalists import Finalist
from harness.quotas.policy import Feedback, Submitted
from harness.quotas.recording import hand_out
from harness.quotas.submission_log import SubmissionLog
from harness.sealing.bundle import Bundles
from harness.sealing.keys import Keys

SUBMISSION = "submission"  # the copy of its files that every run keeps


@dataclass(frozen=True)
class Ready:
    """A finalist with its result on the final part."""

    finalist: Finalist
    evaluation: Evaluation


@dataclass(frozen=True)
class Entered:
    """A finalist whose result is in the ledger."""

    ready: Ready
    appended: Appended
    folder: Path  # what the team may have


def require_over(phase: Phase, day: date) -> None:
    """Refuse to end a phase before its last day is over.

    Raises:
        BusbenchError: `results-closed`, naming the day from which it may.
    """
    if phase.closes is not None and day <= phase.closes:
        message = f"The phase {phase.name} takes submissions until {phase.closes}."
        after = phase.closes + timedelta(days=1)
        remedy = f"Run it on {after} or later (UTC); --dry-run says now who would be run."
        raise BusbenchError(Code.RESULTS_CLOSED, message, remedy)


def job_of(
    finalist: Finalist,
    bundles: Bundles,
    runs: Path,
    *,
    environment: ExecutionEnvironment,
    settings: EvaluateSettings,
    address: str | None = None,
) -> EvaluateSubmission:
    """The evaluation on the final part of the files that a run on the test part kept.

    What trained here has trained here still: the report on the test part says so, and is signed.

    Raises:
        BusbenchError: as `EvaluateSubmission.of`.
    """
    assert finalist.run is not None and environment.keys is not None
    folder, source = run_of(finalist.run) / SUBMISSION, finalist.source
    if source is not None and (image := source.provenance.trained_here) is not None:
        made = source.provenance
        attestation = ProvenanceAttestation(
            image=image, submission_sha256=made.submission_sha256, split_digest=made.split_digest
        )
        write_provenance(attestation, folder, Keys.open(environment.keys))
    return EvaluateSubmission.of(
        folder, bundles, runs, environment=environment, settings=settings, address=address
    )


def record_final(
    ledger: Path, phase: Phase, ready: Sequence[Ready], *, keys: Keys, day: date
) -> list[Entered]:
    """Note all results in the submission log, then record them; doing it again changes nothing.

    Raises:
        BusbenchError: `ledger-invalid`, `disk-full`, and what `hand_out` raises.
    """
    require_writable(ledger, keys)
    log = SubmissionLog.beside(ledger)
    feedback: list[Feedback] = [
        log.close(_entry(one.finalist, phase, day), phase, day, report=one.evaluation.report)
        for one in ready
    ]
    wanted = {one.evaluation.report.identity() for one in ready}
    counted = verify_ledger(ledger, keys.report).each("all_reports")
    named = ((entry.report.identity(), entry) for entry in counted)
    known = {identity: entry for identity, entry in named if identity in wanted}
    appended = [_append(ledger, one.evaluation, known, keys=keys) for one in ready]
    folders = [
        hand_out(run_of(scored := one.evaluation.folder), theirs, scored)
        for one, theirs in zip(ready, feedback, strict=True)
    ]
    return [Entered(*each) for each in zip(ready, appended, folders, strict=True)]


def _append(
    ledger: Path, result: Evaluation, known: Mapping[Digest, RecordedReport], *, keys: Keys
) -> Appended:
    """Record a result, unless the ledger has it, as it was or scored anew since."""
    entry = known.get(result.report.identity())
    if entry is not None:
        return Appended(entry, new=False, torn=None)
    return append(ledger, result.signed, keys)


def run_of(folder: Path) -> Path:
    """The run whose predictions were scored, or scored anew, in a folder."""
    return folder.parents[1] if folder.parent.name == RESCORED else folder


def note_failure(
    ledger: Path, phase: Phase, finalist: Finalist, *, error: BusbenchError, day: date
) -> None:
    """Note in the submission log that a finalist failed on the final part by its own fault."""
    SubmissionLog.beside(ledger).fail(_entry(finalist, phase, day), phase, day, error=error)


def _entry(finalist: Finalist, phase: Phase, day: date) -> Submitted:
    """Its entry of the submission log: the one that is there, or one of the phase's last day."""
    return Submitted(
        submission_sha256=finalist.submission_sha256,
        team=finalist.team,
        method=finalist.method,
        track=finalist.track,
        phase=phase.name,
        day=phase.closes or day,
        stated=day,
    )
