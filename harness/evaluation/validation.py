"""Validation job: the whole evaluation on public cases, as a participant runs it.

    RUNS/val-<id>/submission/ gate/ verdict/  as in `harness.evaluation.evaluate`
    RUNS/val-<id>/fold-<k>/sealed/        its validation cases, sealed to keys that nothing keeps
    RUNS/val-<id>/fold-<k>/infer/ score/  as in `evaluate`, for the model of fold k
    RUNS/val-<id>/*.log                   whole: there is nothing to hide in them
    RUNS/val-<id>/cases.csv               every case, with the fold that validated it
    RUNS/val-<id>/**/seconds.json         how long each stage took
    RUNS/val-<id>/masks/                  the mask of every case, a PNG each
    RUNS/val-<id>/overlays.html           reference and prediction on the images, worst first
    RUNS/val-<id>/val.json                the scores
    RUNS/val-<id>/precision.json          what a precision other than fp32 changes
    RUNS/val-<id>/result.json             last: its presence, with the scores' digest, means done

Each fold's model is scored on the cases that it did not train on. No key of an organiser is needed,
nothing is signed, and nothing enters a ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from evaluator.documents.base import read, write
from evaluator.documents.inference import GateVerdict
from evaluator.documents.scores import AwesomeBusScores, GroupScores, MetricSummary, Scores
from evaluator.documents.sealed import SealedCase
from evaluator.documents.submission import AnySubmission, ImageSubmission
from evaluator.errors import Code
from evaluator.files import canonical_json, sha256_bytes
from evaluator.progress import Progress
from harness.evaluation.case_table import OVERLAYS, Cases, read_cases, summarise, write_cases
from harness.evaluation.ephemeral import seal_once
from harness.evaluation.images import pass_gate, run_and_score
from harness.evaluation.job import SubmissionJob, submission_input
from harness.evaluation.precision import COMPARISON, REFERENCE, Comparison, count_differences
from harness.evaluation.sealed_files import KeyText, SealedFiles
from harness.evaluation.settings import EvaluateSettings
from harness.evaluation.sizes import require_images
from harness.evaluation.stage_output import read_scores
from harness.execution.inputs import offer
from harness.execution.job import ExecutionEnvironment, write_result
from harness.folders import let_all_read
from harness.ledger.report import PrecisionLoss
from harness.sandbox.cached import AGAIN, SECONDS, read_seconds
from harness.sealing.documents import TrainingBundle
from harness.sealing.training import TrainingSet
from harness.submission import DOCUMENT, assemble, read_entry, take, write_document

SCORES = "val.json"


@dataclass(frozen=True)
class Validation:
    """A finished evaluation on the validation folds."""

    folder: Path
    submission: AnySubmission
    scores: Scores
    folds: tuple[int, ...]
    cases: Cases
    loss: PrecisionLoss | None  # of a precision other than fp32

    @property
    def one_for_all(self) -> bool:
        """Whether one model is for all folds: it has seen every case that it is scored on."""
        return None in self.submission.folds

    @property
    def seconds(self) -> dict[str, float]:
        """How long each stage took, of all folds together; see `read_seconds`."""
        together: dict[str, float] = {}
        for path in sorted(self.folder.rglob(SECONDS), key=lambda path: len(path.parts)):
            for name, took in read_seconds(path.parent).items():
                together[name] = round(together.get(name, 0) + took, 3)
        return together


@dataclass(frozen=True)
class ValidateSubmission(SubmissionJob[TrainingBundle]):
    """One submission on the validation folds of one training bundle."""

    kind = "validate"
    prefix = "val-"

    @classmethod
    def of(
        cls,
        folder: Path,
        bundle: Path,
        runs: Path,
        *,
        environment: ExecutionEnvironment,
        settings: EvaluateSettings | None = None,
        address: str | None = None,
    ) -> ValidateSubmission:
        """The job for a submission's folder.

        Args:
            bundle: the training bundle, or the folder that contains it.
            address: where the job's inputs are put for other machines; null: all see `folder`.

        Raises:
            BusbenchError: `submission-invalid`, `bundle-invalid`; `input-unavailable` where the
                address takes nothing.
        """
        training, facts = TrainingSet.open(bundle), read_entry(folder)
        profile = environment.challenge.profile_of(training.bundle.track)
        require_images(facts, [each.case for each in training.cases])
        return cls(
            submission_input(folder, facts, address),
            facts,
            offer(training.path, sorted(training.path.rglob("*")), address),
            training.bundle,
            runs,
            environment,
            replace(settings or EvaluateSettings(), profile=profile),
        )

    def tested_on(self) -> dict[str, object]:
        return {"bundle": self.cases.document()}

    def run(self, progress: Progress) -> None:
        """Score each fold's model on its own validation cases."""
        from harness.evaluation.overlays import write_overlays  # noqa: PLC0415  imports OpenCV

        training = TrainingSet.open(self.bundle.here())
        if not (self.folder / "submission").is_dir():
            take(self.submission.here(), self.folder / "submission", self.cases.track)
        found, reference = [], []
        with self.environment.open(progress, gpu=self.gpu) as context:
            verdict = pass_gate(
                self.folder,
                context,
                self.folder / "gate.log",
                cases=[each.case for each in training.cases],
            )
            for fold, part in one_a_fold(self.facts, self.cases.folds).items():
                place = self.folder / f"fold-{fold}"
                files = seal_public(
                    training, [c.case for c in training.cases if c.fold == fold], place / "sealed"
                )
                narrow(self.folder, verdict, part, place=place)
                run_and_score(place, files, self.settings, context=context)
                found.append(read_scores(place))
                if self.settings.precision != "fp32":
                    narrow(self.folder, verdict, part, place=place / REFERENCE)
                    plain = replace(self.settings, precision="fp32")
                    run_and_score(place / REFERENCE, files, plain, context=context)
                    reference.append(read_scores(place / REFERENCE))
        cases = read_cases(self.folder, tuple(range(self.cases.folds)))
        write_cases(cases, self.folder)
        write_overlays(self.folder, training, cases, progress=progress)
        scores = merge(found)
        write(scores, self.folder / SCORES)
        made = {name: self.folder / name for name in (SCORES, OVERLAYS)}
        if reference:
            made[COMPARISON] = self.folder / COMPARISON
            write(self._compare(scores, merge(reference)), made[COMPARISON])
        write_result(self, made)

    def _compare(self, found: Scores, reference: Scores) -> Comparison:
        """The scores in the precision of this job with those in fp32, and their masks."""
        places = [self.folder / f"fold-{fold}" for fold in range(self.cases.folds)]
        cases, masks, pixels = count_differences(places)
        dice, dice_fp32 = (
            scores.groups["all"].metrics["dice"].mean for scores in (found, reference)
        )
        loss = PrecisionLoss(
            precision=self.settings.precision,
            cases=cases,
            dice_fp32=dice_fp32,
            dice=dice,
            masks=masks,
            pixels=pixels,
        )
        return Comparison(
            submission_sha256=self.facts.digest, split_digest=self.cases.split_digest, loss=loss
        )

    def finished(self) -> Validation:
        """What the finished job left."""
        scores = read(Scores, self.folder / SCORES, Code.OUTPUT_EXISTS, remedy=AGAIN)
        folds = tuple(one_a_fold(self.facts, self.cases.folds))
        cases = summarise(read_cases(self.folder, folds))
        return Validation(self.folder, self.facts, scores, folds, cases, self.loss())

    def loss(self) -> PrecisionLoss | None:
        """What the precision of the finished job changes; None in fp32."""
        if self.settings.precision == "fp32":
            return None
        path = self.folder / COMPARISON
        return read(Comparison, path, Code.OUTPUT_EXISTS, remedy=AGAIN).loss


def one_a_fold(submission: AnySubmission, folds: int) -> dict[int, AnySubmission]:
    """For each fold, the submission with the model of that fold, or of all folds, alone."""
    if isinstance(submission, ImageSubmission):
        return dict.fromkeys(range(folds), submission)
    by_fold = {model.fold: model for model in submission.models}
    return {
        fold: submission.model_copy(update={"models": (by_fold.get(fold) or by_fold[None],)})
        for fold in range(folds)
    }


def seal_public(training: TrainingSet, chosen: Iterable[SealedCase], place: Path) -> SealedFiles:
    """Seal cases of a training bundle as test cases are, to keys that are in memory alone.

    They have a spacing only where those of all folds have one: all folds are scored in one unit. A
    run that goes on after a kill seals them again.
    """
    in_mm = all(c.case.spacing_mm is not None for c in training.cases)
    cases = sorted(
        (case if in_mm else replace(case, spacing_mm=None) for case in chosen),
        key=lambda case: case.case_id,
    )

    def seal(name: str, suffix: str, content: Iterable[bytes]) -> tuple[Path, KeyText]:
        named = (replace(case, file=case.case_id + suffix) for case in cases)
        digest = training.bundle.split_digest
        return seal_once(place / name, named, content, split_digest=digest)

    images, image_key = seal("images.age", ".grey", map(training.image, cases))
    labels, label_key = seal("labels.age", ".png", map(training.labels, cases))
    return SealedFiles(images, image_key, labels, label_key)


def narrow(folder: Path, verdict: GateVerdict, part: AnySubmission, *, place: Path) -> None:
    """Write the submission and the gate's verdict for some of its models; an image has no verdict.

    Args:
        folder: with the whole submission, in `submission`.
        part: the submission with those models alone.
    """
    if isinstance(part, ImageSubmission):
        write_document(part, place / "submission" / DOCUMENT)
        return
    if not (place / "submission").is_dir():
        assemble(part, lambda model: folder / "submission" / model.file, place / "submission")
    named = {(model.fold, model.sha256) for model in part.models}
    counted = tuple(each for each in verdict.models if (each.fold, each.sha256) in named)
    narrowed = GateVerdict(submission_sha256=part.digest, models=counted)
    write(narrowed, place / "verdict" / "gate.json")
    let_all_read(place / "verdict")


def merge(folds: Sequence[Scores]) -> Scores:
    """The scores of models that were each scored on other cases.

    A group's mean is that over its folds, like a report's, and so is the standard deviation; a
    group that a fold lacks is taken over the others. Intervals are left out: they would mix
    patients with models.
    """
    if any(scores.units != folds[0].units for scores in folds):
        raise ValueError("the folds' scores have different units")
    names = dict.fromkeys(name for scores in folds for name in scores.groups)
    published = [scores.awesome_bus_2025 for scores in folds]
    return Scores(
        metric_profile=folds[0].metric_profile,
        units=folds[0].units,
        groups={
            name: _merged([s.groups[name] for s in folds if name in s.groups]) for name in names
        },
        awesome_bus_2025=AwesomeBusScores(
            metric_profile=published[0].metric_profile,
            metrics=_means([one.metrics for one in published]),
            dropped=sum(one.dropped for one in published),
        ),
        true_negatives=sum(scores.true_negatives for scores in folds),
        invalid=sum(scores.invalid for scores in folds),
        spaced=sum(scores.spaced for scores in folds),
        predictions_sha256=_joined(scores.predictions_sha256 for scores in folds),
        labels_sha256=_joined(scores.labels_sha256 for scores in folds),
    )


def _joined(digests: Iterable[str]) -> str:
    return sha256_bytes(canonical_json([*digests]))


def _means(folds: Sequence[Mapping[str, MetricSummary]]) -> dict[str, MetricSummary]:
    """The summary over the folds of each metric that all of them have."""
    return {
        name: MetricSummary.of([fold[name].mean for fold in folds])
        for name in folds[0]
        if all(name in fold for fold in folds)
    }


def _merged(groups: Sequence[GroupScores]) -> GroupScores:
    return GroupScores(
        cases=sum(group.cases for group in groups),
        patients=sum(group.patients for group in groups),
        metrics=_means([group.metrics for group in groups]),
    )
