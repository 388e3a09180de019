"""Sizes and spacings of a track's images, for a submission: its canvases, its work, a refusal."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from evaluator.documents.canvases import NO_SPACING, Canvases, check_images
from evaluator.documents.inference import CountedModel
from evaluator.documents.input_spec import InputSpec
from evaluator.documents.sealed import SealedCase
from evaluator.documents.submission import AnySubmission, Submission
from evaluator.errors import BusbenchError, Code
from harness.submission import DOCUMENT


def require_images(submission: AnySubmission, cases: Sequence[SealedCase]) -> None:
    """Refuse a submission that wants a spacing that some image does not state.

    Raises:
        BusbenchError: `submission-invalid`.
    """
    if not isinstance(submission, Submission):
        return
    if (problem := check_images(submission.input, cases)) is not None:
        raise BusbenchError(Code.SUBMISSION_INVALID, f"{DOCUMENT}: {problem}.", NO_SPACING)


def canvases_of(spec: InputSpec, cases: Sequence[SealedCase]) -> Canvases | None:
    """The canvases that the gate tries a native model at; None of other modes."""
    return Canvases.of(spec, cases) if spec.is_native else None


def count_work(
    models: Sequence[CountedModel], spec: InputSpec, cases: Sequence[SealedCase]
) -> tuple[CountedModel, ...]:
    """What the gate counted, with the work of a mean image, which may be several tiles."""
    runs = fmean(spec.runs(c.height, c.width, c.spacing_mm) for c in cases) if cases else 1
    return tuple(
        model.model_copy(update={"gmacs": None if model.gmacs is None else runs * model.gmacs})
        for model in models
    )
