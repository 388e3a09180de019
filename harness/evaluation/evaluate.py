"""Evaluation job of a submission on a sealed hidden part: gate, inference, scoring, signed report.

    RUNS/<id>/submission/   the declared files, copied
    RUNS/<id>/submission.provenance.json       of a submission that was trained here
    RUNS/<id>/gate.limits.json                 within which the verdict was given
    RUNS/<id>/gate/         gate.json          made by the gate container, which loads the models
    RUNS/<id>/verdict/      gate.json          made by the verdict container, which loads none
    RUNS/<id>/infer/        predictions        made by the infer container (images, no labels)
    RUNS/<id>/score/        scores, every case made by the score container (labels, no model)
    RUNS/<id>/seconds.json                     how long each stage took
    RUNS/<id>/report.dsse.json                 signed
    RUNS/<id>/result.json                      last: its presence, with the report's digest, is done
    RUNS/<id>/ready.log                        where inference failed: could it run here at all?
    RUNS/<id>/participant-error.json           of a run that failed: what its participant may read

The id is a digest of everything that decides the result, so the same evaluation resumes, and
another one never meets its files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evaluator.documents.base import CaseId, Digest, read
from evaluator.documents.submission import AnySubmission, ImageSubmission, Submission
from evaluator.errors import BusbenchError, Code
from evaluator.progress import Progress
from harness.evaluation.home import Visitor, home_of, require_home_precision
from harness.evaluation.images import pass_gate, pinned, run_and_score
from harness.evaluation.job import SubmissionJob, make_run_folder, submission_input
from harness.evaluation.precision import require_small_loss
from harness.evaluation.report import build_report
from harness.evaluation.sealed_files import SealedFiles
from harness.evaluation.settings import EvaluateSettings
from harness.evaluation.sizes import require_images
from harness.evaluation.stages import ahead
from harness.evaluation.validation import ValidateSubmission
from harness.execution.inputs import bundle_input
from harness.execution.job import ExecutionEnvironment, run_once, write_result
from harness.ledger import SignedReport, sign, verify_report, write_report
from harness.ledger.provenance import keep_provenance, signers, trained_here
from harness.ledger.report import HomeTrack, PrecisionLoss, Report
from harness.sandbox.cached import AGAIN, Context, read_seconds
from harness.sandbox.participant_error import ERROR_FILE, hidden_cases, reported_to_participant
from harness.sandbox.stage import StageName
from harness.sealing.bundle import FOLDERS, Bundles
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

    @property
    def seconds(self) -> dict[str, float]:
        """How long each stage took; see `read_seconds`."""
        return read_seconds(self.folder)


@dataclass(frozen=True)
class EvaluateSubmission(SubmissionJob[SealedBundle]):
    """One submission on a hidden part of a track; its environment has the keys of that part.

    In a precision other than fp32 it is first compared with fp32 on the public validation cases:
    what it loses there is known, and allowed, before a test image is read.

    Raises:
        BusbenchError: `challenge-invalid` where the precision is not the track's.
    """

    kind = "evaluate"
    comparison: ValidateSubmission | None = None  # there is one where it is not fp32
    home: HomeTrack | None = None  # what it was trained on, where it is tested on another track

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
        splits: Sequence[Path] | None = None,
    ) -> EvaluateSubmission:
        """The job for a submission's folder.

        Args:
            address: where the job's inputs are put for other machines; null: all see `folder`.
            splits: frozen splits, or folders of them, where the bundles are of another track than
                the one that the submission was trained on.

        Raises:
            BusbenchError: `submission-invalid`, `challenge-invalid`; what `home_of` raises;
                `keys-invalid` where the environment's keys cannot open the bundles;
                `input-unavailable` where the address takes nothing.
        """
        facts = read_entry(folder)
        if environment.keys is not None:
            keys = Keys.open(environment.keys)
            require_keys_of(bundles, keys)
            if isinstance(facts, Submission) and facts.input.spacing is not None:
                require_images(facts, _sealed_files(bundles, keys).index().cases)
        track = bundles.sealed.track
        limits = environment.challenge.efficiency_of(track)
        how, compared = settings or EvaluateSettings(), None
        home = None
        if splits is not None:
            home = home_of(facts, bundles.sealed, environment.challenge, splits=splits)
            require_home_precision(how.precision, bundles.sealed.track)
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
            bundle_input(bundles.path, FOLDERS[bundles.sealed.part], address),
            bundles.sealed,
            runs,
            environment,
            replace(
                how,
                efficiency=limits,
                profile=environment.challenge.profile_of(track),
                probabilities=environment.challenge.asks_probabilities(track),
            ),
            compared,
            home,
        )

    @property
    def folds(self) -> int:
        if self.home is None:
            return self.cases.folds
        return self.environment.challenge.tracks[self.home.track].folds

    @property
    def trained_on(self) -> Digest:
        """The digest of the split that an attestation of its training is of."""
        return (self.home or self.cases).split_digest

    @property
    def handed_in(self) -> AnySubmission | Visitor:
        """Whose submission it is, on the track that it is tested on: quotas go by it."""
        if self.home is None:
            return self.facts
        return Visitor(self.facts.team, self.facts.method, self.cases.track, self.facts.digest)

    def tested_on(self) -> dict[str, object]:
        return {
            "split": self.cases.split_digest,
            "images": self.cases.images_sha256,
            "labels": self.cases.labels_sha256,
            "compared": self.comparison and self.comparison.key,
            "max_dice_loss": self.max_dice_loss,
            **({} if self.home is None else {"home": self.home.document()}),
        }

    @property
    def max_dice_loss(self) -> float | None:
        """The most that the track's precision may lose; None in fp32."""
        return self.environment.challenge.max_dice_loss_of(self.cases.track)

    @property
    def label(self) -> str:
        return super().label + (", final part" if self.cases.part == "final" else "")

    @property
    def stage(self) -> StageName | None:
        compared = None if self.comparison is None else self.comparison.stage
        return super().stage or compared

    def run(self, progress: Progress) -> None:
        """Evaluate and sign; finished stages of a killed evaluation are kept."""
        loss = self._compare(progress)  # before it takes a GPU for itself
        submission, bundles = self.submission.here(), self._bundles()
        with self.environment.open(progress, gpu=self.gpu) as context:
            assert context.keys is not None
            keys = Keys.open(context.keys)
            require_keys_of(bundles, keys)
            known = self.environment.known_keys
            image = trained_here(
                submission, self.facts, self.trained_on, keys=keys, known_keys=known
            )
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
                home=self.home,
                folds=self.folds,
                cases=_sealed_files(bundles, keys).index().cases,
            )
        write_report(sign(report, keys), self.folder / REPORT)
        write_result(self, {REPORT: self.folder / REPORT})

    def _bundles(self) -> Bundles:
        return Bundles.open(self.bundle.here(), self.cases.part)

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
            take(submission, folder / "submission", (self.home or bundles.sealed).track)
        with reported_to_participant(folder / ERROR_FILE):
            left_out = () if self.home is None else self.home.left_out
            files = _sealed_files(bundles, keys, left_out)
            log, cases = folder / "gate.log", files.index().cases
            with ahead(folder, files, self.settings, context=context):
                pass_gate(folder, context, log, cases=cases)
                with hidden_cases(bundles.sealed.labels == "private"):
                    run_and_score(folder, files, self.settings, context=context)

    def finished(self) -> Evaluation:
        """What the finished job left; what an earlier key of the ledger signed is signed anew.

        Raises:
            BusbenchError: `ledger-invalid` where its report is not what the organiser signed.
        """
        assert self.environment.keys is not None
        keys = Keys.open(self.environment.keys)
        return finished_run(self.folder, keys, self.environment.known_keys)


def finished_run(folder: Path, keys: Keys, known_keys: Iterable[str] = ()) -> Evaluation:
    """What a finished run left; see `EvaluateSubmission.finished`.

    Args:
        known_keys: PEM: the report keys, old and new, that a ledger names.
    """
    path = folder / REPORT
    signed = read(SignedReport, path, Code.LEDGER_INVALID, remedy=AGAIN)
    report = verify_report(path, *signers(keys, known_keys))
    is_old = signed.signatures[0].keyid != keys.report.keyid
    return Evaluation(folder, report, sign(report, keys) if is_old else signed)


def _sealed_files(bundles: Bundles, keys: Keys, left_out: tuple[CaseId, ...] = ()) -> SealedFiles:
    return SealedFiles(
        images=bundles.images,
        image_key=keys.images.identity,
        labels=bundles.labels,
        label_key=keys.labels.identity,
        left_out=left_out,
    )


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
