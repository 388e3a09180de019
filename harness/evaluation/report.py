"""The report of a finished run, from the files of its stages; not yet signed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import harness
from evaluator.documents.inference import CountedModel
from evaluator.documents.scores import Scores
from evaluator.documents.sealed import SealedCase
from evaluator.documents.submission import AnySubmission, ImageSubmission, Submission
from evaluator.errors import BusbenchError, Code
from evaluator.predictions import open_predictions
from harness.evaluation.sizes import count_work
from harness.evaluation.stage_output import read_runtime, read_scores, read_verdict
from harness.ledger.report import HomeTrack, PrecisionLoss, Provenance, Report
from harness.sandbox.cached import AGAIN
from harness.sandbox.stage import RunnerName
from harness.sealing.bundle import Bundles


def build_report(
    folder: Path,
    submission: AnySubmission,
    bundles: Bundles,
    *,
    runner: RunnerName,
    identities: Mapping[str, str],
    trained_here: str | None,
    precision_loss: PrecisionLoss | None = None,
    home: HomeTrack | None = None,
    folds: int,
    cases: Sequence[SealedCase],
) -> Report:
    """State the result of a finished run.

    Args:
        home: the track that the submission was trained on, where it is another.
        folds: how many that track has, or the tested one.
        cases: of the sealed test set.

    Raises:
        BusbenchError: `predictions-invalid` or `stage-crashed` where they contradict each other.
    """
    predictions = open_predictions(folder / "infer")
    image, counted = None, tuple[CountedModel, ...]()
    if isinstance(submission, ImageSubmission):
        image = submission.image
    else:
        counted = _counted(folder, submission, cases)
    scores = read_scores(folder)
    complete = _is_complete(submission, scores, folds)
    if predictions.submission_sha256 != submission.digest:
        raise _of_two(folder)
    sealed = bundles.sealed
    return Report(
        team=submission.team,
        method=submission.method,
        notes=submission.notes,
        track=sealed.track,
        dataset=sealed.dataset,
        split_version=sealed.split_version,
        part=sealed.part,
        labels=sealed.labels,
        status="complete" if complete else "incomplete",
        scores=scores,
        models=counted,
        runtime=read_runtime(folder),
        precision_loss=precision_loss,
        home=home,
        provenance=Provenance(
            submission_sha256=submission.digest,
            image=image,
            models_sha256=tuple(model.sha256 for model in submission.models),
            split_digest=sealed.split_digest,
            sealed_images_sha256=sealed.images_sha256,
            sealed_labels_sha256=sealed.labels_sha256,
            predictions_sha256=scores.predictions_sha256,
            evaluator=dict(identities),
            runner=runner,
            busbench=harness.__version__,
            trained_here=trained_here,
        ),
    )


def _counted(
    folder: Path, submission: Submission, cases: Sequence[SealedCase]
) -> tuple[CountedModel, ...]:
    """What the gate counted of each declared model, with the work of a mean image."""
    verdict = read_verdict(folder)
    declared = {(model.fold, model.sha256) for model in submission.models}
    counted = {(model.fold, model.sha256) for model in verdict.models}
    if verdict.submission_sha256 != submission.digest or declared != counted:
        raise _of_two(folder)
    return count_work(verdict.models, submission.input, cases)


def _of_two(folder: Path) -> BusbenchError:
    message = f"{folder} contains files of two submissions."
    return BusbenchError(Code.PREDICTIONS_INVALID, message, AGAIN)


def _is_complete(submission: AnySubmission, scores: Scores, folds: int) -> bool:
    """A result counts when every fold's model gave a valid mask for every test case."""
    return scores.invalid == 0 and {*submission.folds} in ({None}, set(range(folds)))
