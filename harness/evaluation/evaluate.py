"""Evaluation job of a submission on the sealed test set: gate, inference, scoring, signed report.

    RUNS/<id>/submission/   the declared files, copied
    RUNS/<id>/submission.provenance.json       of a submission that was trained here
    RUNS/<id>/gate/         gate.json          made by the gate container, which loads the models
    RUNS/<id>/verdict/      gate.json          made by the verdict container, which loads none
    RUNS/<id>/infer/        predictions        made by the infer container (images, no labels)
    RUNS/<id>/score/        scores, every case made by the score container (labels, no model)
    RUNS/<id>/report.dsse.json                 signed
    RUNS/<id>/result.json                      last: its presence, with the report's digest, is done
    RUNS/<id>/ready.log                        where inference failed: could it run here at all?
    RUNS/<id>/participant-error.json           of a run that failed: what its participant may read

The id is a digest of everything that decides the result, so the same evaluation resumes, and
another one never meets its files.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from evaluator.documents.base import read
from evaluator.documents.submission import ImageSubmission
from evaluator.errors import BusbenchError, Code
from evaluator.progress import Progress
from harness.evaluation.images import pass_gate, pinned, run_and_score
from harness.evaluation.job import SubmissionJob, make_run_folder, submission_input
from harness.evaluation.precision import require_small_loss
from harness.evaluation.report import build_report
from harness.evaluation.stages import EvaluateSettings, SealedFiles
from harness.evaluation.validation import ValidateSubmission
from harness.execution.inputs import bundle_input
from harness.execution.job import ExecutionEnvironment, run_once, write_result
from harness.ledger import SignedReport, sign, verify_report, write_report
from harness.ledger.provenance import keep_provenance, signers, trained_here
from harness.ledger.report import PrecisionLoss, Report
from harness.sandbox.cached import AGAIN, Context
from harness.sandbox.participant_error import ERROR_FILE, hidden_cases, reported_to_participant
from harness.sandbox.stage import StageName
from harness.sealing.bundle import Bundles
from harness.sealing.documents import SealedBundle
from harness.sealing.keys import Keys
from harness.submission import read_entry, take

REPORT = "report.dsse.json"


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation."""

    folder: Path
    report: Report
    signed: SignedReport


@dataclass(frozen=True)
class EvaluateSubmission(SubmissionJob[SealedBundle]):
    """One submission on one track; its environment has the organiser's keys.

    In a precision other than fp32 it is first compared with fp32 on the public validation cases:
    what it loses there is known, and allowed, before a test image is read.

    Raises:
        BusbenchError: `challenge-invalid` where the precision is not the track's.
    """

    kind = "evaluate"
    comparison: ValidateSubmission | None = None  # there is one where it is not fp32

    def __post_init__(self) -> None:
        super().__post_init__()
        track, chosen = self.cases.track, self.settings.precision
        declared = self.environment.challenge.precision_of(track)
        if chosen != declared and not isinstance(self.facts, ImageSubmission):
            message = f"Track {track} is computed in {declared}, and {chosen} was asked for."
            remedy = (
                "Leave --precision out, or declare `precision` and `max_dice_loss` of the track."
            )
            raise BusbenchError(Code.CHALLENGE_INVALID, message, remedy)

    @classmethod
    def of(
        cls,
        folder: Path,
        bundles: Bundles,
        runs: Path,
        *,
        environment: ExecutionEnvironment,
        settings: EvaluateSettings | None = None,
        address: str | None = None,
    ) -> EvaluateSubmission:
        """The job for a submission's folder.

        Args:
            address: where the job's inputs are put for other machines; null: all see `folder`.

        Raises:
            BusbenchError: `submission-invalid`, `challenge-invalid`; `keys-invalid` where the
                environment's keys cannot open the bundles; `input-unavailable` where the address
                takes nothing.
        """
        if environment.keys is not None:
            require_keys_of(bundles, Keys.open(environment.keys))
        facts = read_entry(folder)
        track = bundles.sealed.track
        limits = environment.challenge.efficiency_of(track)
        how, compared = settings or EvaluateSettings(), None
        if how.precision != "fp32":
            compared = ValidateSubmission.of(
                folder,
                bundles.path,
                runs,
                environment=environment,
                settings=how,
                address=address,
            )
        return cls(
            submission_input(folder, facts, address),
            facts,
            bundle_input(bundles.path, "sealed", address),
            bundles.sealed,
            runs,
            environment,
            replace(how, efficiency=limits, profile=environment.challenge.profile_of(track)),
            compared,
        )

    def tested_on(self) -> dict[str, object]:
        return {
            "split": self.cases.split_digest,
            "images": self.cases.images_sha256,
            "labels": self.cases.labels_sha256,
            "compared": self.comparison and self.comparison.key,
            "max_dice_loss": self.max_dice_loss,
        }

    @property
    def max_dice_loss(self) -> float | None:
        """The most that the track's precision may lose; None in fp32."""
        return self.environment.challenge.max_dice_loss_of(self.cases.track)

    @property
    def stage(self) -> StageName | None:
        compared = None if self.comparison is None else self.comparison.stage
        return super().stage or compared

    def run(self, progress: Progress) -> None:
        """Evaluate and sign; finished stages of a killed evaluation are kept."""
        loss = self._compare(progress)  # before it takes a GPU for itself
        submission, bundles = self.submission.here(), Bundles.open(self.bundle.here())
        with self.environment.open(progress, gpu=self.gpu) as context:
            assert context.keys is not None
            keys = Keys.open(context.keys)
            require_keys_of(bundles, keys)
            split, known = bundles.sealed.split_digest, self.environment.known_keys
            image = trained_here(submission, self.facts, split, keys=keys, known_keys=known)
            identities = self.settings.identify(context.runner)
            if isinstance(self.facts, ImageSubmission):
                identities["predict"] = pinned(self.facts, context)
            self._run_stages(submission, bundles, keys=keys, context=context)
            report = build_report(
                self.folder,
                self.facts,
                bundles,
                runner=context.runner.name,
                identities=identities,
                trained_here=image,
                precision_loss=loss,
            )
        write_report(sign(report, keys), self.folder / REPORT)
        write_result(self, {REPORT: self.folder / REPORT})

    def _compare(self, progress: Progress) -> PrecisionLoss | None:
        """What the precision loses on the validation cases; None in fp32.

        Raises:
            BusbenchError: `precision-loss` where that is more than the track allows.
        """
        if self.comparison is None:
            return None
        folder = make_run_folder(self.folder)
        with reported_to_participant(folder / ERROR_FILE):
            run_once(self.comparison, progress)
            loss = self.comparison.loss()
            assert loss is not None
            require_small_loss(loss, self.max_dice_loss)
        return loss

    def _run_stages(
        self, submission: Path, bundles: Bundles, *, keys: Keys, context: Context
    ) -> None:
        folder = make_run_folder(self.folder)
        keep_provenance(submission, folder / "submission")
        if not (folder / "submission").is_dir():
            take(submission, folder / "submission", bundles.sealed.track)
        with reported_to_participant(folder / ERROR_FILE):
            pass_gate(folder, context, folder / "gate.log")
            files = SealedFiles(
                images=bundles.images,
                image_key=keys.images.identity,
                labels=bundles.labels,
                label_key=keys.labels.identity,
            )
            with hidden_cases(bundles.sealed.labels == "private"):
                run_and_score(folder, files, self.settings, context=context)

    def finished(self) -> Evaluation:
        """What the finished job left; what an earlier key of the ledger signed is signed anew.

        Raises:
            BusbenchError: `ledger-invalid` where its report is not what the organiser signed.
        """
        report, signed = read_signed(self.folder / REPORT, self.environment)
        return Evaluation(self.folder, report, signed)


def read_signed(path: Path, environment: ExecutionEnvironment) -> tuple[Report, SignedReport]:
    """A report that a job signed; what an earlier key of the ledger signed is signed anew.

    Raises:
        BusbenchError: `ledger-invalid` where it is not what the organiser signed.
    """
    assert environment.keys is not None
    keys = Keys.open(environment.keys)
    signed = read(SignedReport, path, Code.LEDGER_INVALID, remedy=AGAIN)
    report = verify_report(path, *signers(keys, environment.known_keys))
    is_old = signed.signatures[0].keyid != keys.report.keyid
    return report, sign(report, keys) if is_old else signed


def require_keys_of(bundles: Bundles, keys: Keys) -> None:
    """Refuse keys that the bundle is not sealed to, which scoring would find out last.

    Raises:
        BusbenchError: `keys-invalid`.
    """
    sealed = bundles.sealed
    if (keys.images.recipient, keys.labels.recipient) != (
        sealed.image_recipient,
        sealed.label_recipient,
    ):
        message = f"{keys.path} cannot open {bundles.path}, which is sealed to other keys."
        raise BusbenchError(Code.KEYS_INVALID, message, "Name the keys that it was sealed with.")
