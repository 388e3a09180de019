"""Prediction of masks on images of one's own, by the stages that an evaluation has.

    MASKS/<name>.png       a mask for each image, one bit a pixel, at the image's own size
    MASKS/predict.json     last: what was predicted by what

The gate comes first. Images are sealed like test images, to a key that is in memory alone, and
predicted in parts of `PART`: an interrupted run goes on with the part that it was in.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import harness
from evaluator.documents.base import write
from evaluator.documents.inference import GateVerdict
from evaluator.documents.sealed import SealedCase
from evaluator.documents.submission import Submission
from evaluator.errors import BusbenchError, Code
from evaluator.files import canonical_json, sha256_bytes, sha256_pixels
from evaluator.progress import Progress, quiet
from harness.datasets.base import RefusedError
from harness.datasets.own_images import OwnImage
from harness.evaluation.predict_parts import (
    Models,
    OwnRead,
    copy_masks,
    discard_unfinished,
    predict_part,
    unfinished,
)
from harness.evaluation.predict_record import (
    RECORD,
    Chosen,
    PredictedImage,
    PredictRecord,
    made_before,
)
from harness.evaluation.settings import EvaluateSettings
from harness.evaluation.stages import pass_gate
from harness.execution.job import ExecutionEnvironment
from harness.folders import one_at_a_time, require_free, whole_folder
from harness.prepare import CasesRefusedError, RefusedCase
from harness.sandbox.cached import Context
from harness.submission import read_submission, take

PART = 250  # images that one start of the models is given, and that a kill can cost


@dataclass(frozen=True)
class Prediction:
    """Finished masks."""

    folder: Path
    record: PredictRecord
    resumed: bool  # nothing was done: the masks were there already


@dataclass(frozen=True)
class PredictRequest:
    """What is to be predicted, and how.

    Args:
        submission: the folder of an accepted submission.
        fold: whose model; `all` is the majority of the folds' masks, or the one model for all.
        skip_refused: leave images out that cannot be read, rather than fail.
        spacing: (row, column) in millimetres a pixel, of images that state none.
    """

    submission: Path
    images: tuple[OwnImage, ...]
    environment: ExecutionEnvironment
    fold: Chosen = "all"
    settings: EvaluateSettings = field(default_factory=EvaluateSettings)
    skip_refused: bool = False
    spacing: tuple[float, float] | None = None


def predict(request: PredictRequest, out: Path, *, progress: Progress = quiet) -> Prediction:
    """Write the mask of every image to `out`, a new or empty folder, which appears whole.

    Raises:
        CasesRefusedError: where images cannot be read, after all were looked at.
        BusbenchError: `submission-invalid`, `gate-refused`, and whatever inference ends with;
            `usage` where the submission has no model of the fold; `output-exists` where `out`
            contains something else, or masks made with other settings.
    """
    submission = read_submission(request.submission)
    part = choose_models(submission, request.fold)
    require_spacing_used(submission, request.spacing)
    images, refused = _read_all(request, progress)
    _require_spacings(submission, images)
    settings, how = request.settings, request.environment
    names = {e.image.mask: [sha256_pixels(e.pixels), e.case.spacing_mm] for e in images}
    record = PredictRecord(
        busbench=harness.__version__,
        submission_sha256=submission.digest,
        fold=request.fold,
        images_sha256=sha256_bytes(canonical_json(names)),
        spacing=request.spacing,
        device=settings.device,
        precision=settings.precision,
        backend=settings.backend,
        runner=how.runner,
        refused=refused,
    )
    with one_at_a_time(out):
        if (out / RECORD).is_file():
            discard_unfinished(out)
            return Prediction(out, made_before(out, record), resumed=True)
        require_free(out)
        with (
            unfinished(out, record) as work,
            whole_folder(out, last=RECORD) as partial,
            how.open(progress, gpu=settings.device != "cpu") as context,
        ):
            verdict = _gate(request.submission, work / "gate", images, context=context)
            models = Models(part, work / "gate", verdict, settings)
            made = list[PredictedImage]()
            for place, chosen in _parts(work, images):
                done = predict_part(place, chosen, record, models=models, context=context)
                copy_masks(done, place, partial)
                made += done.images
                progress("images predicted", len(made), len(images))
            record = record.model_copy(update={"images": tuple(made)})
            write(record, partial / RECORD)
    return Prediction(out, record, resumed=False)


def _parts(work: Path, images: Sequence[OwnRead]) -> Iterator[tuple[Path, Sequence[OwnRead]]]:
    """The place of each part in `work`, and its images."""
    for number, start in enumerate(range(0, len(images), PART)):
        yield work / f"part-{number:05}", images[start : start + PART]


def choose_models(submission: Submission, fold: Chosen) -> Submission:
    """The submission with the models of `fold` alone.

    Raises:
        BusbenchError: `usage` where it has no model of that fold.
    """
    models = tuple(model for model in submission.models if fold in ("all", model.fold))
    if models:
        return submission.model_copy(update={"models": models})
    known = [str(model.fold) for model in submission.models if model.fold is not None]
    has = f"models of the folds {', '.join(known)}" if known else "one model for all folds"
    message = f"The submission has {has}, and --fold is {fold}."
    raise BusbenchError(Code.USAGE, message, "Name a fold that it has a model of, or all.")


def require_spacing_used(submission: Submission, spacing: tuple[float, float] | None) -> None:
    """Raise `usage` where a spacing is given to a submission that resamples to none."""
    if spacing is not None and submission.input.spacing is None:
        message = "--spacing has no effect: the submission declares no `input.spacing`."
        raise BusbenchError(Code.USAGE, message, "Leave --spacing out.")


def _require_spacings(submission: Submission, images: Sequence[OwnRead]) -> None:
    """Raise `usage` where an image cannot be resampled as the submission declares."""
    lacking = [each for each in images if each.case.spacing_mm is None]
    if submission.input.spacing is not None and lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        message = (
            f"The submission resamples to {submission.input.spacing:g} mm a pixel, and "
            f"{lacking[0].image.path}{more} state no spacing."
        )
        raise BusbenchError(Code.USAGE, message, "Say how large their pixels are with --spacing.")


def _read_all(
    request: PredictRequest, progress: Progress
) -> tuple[tuple[OwnRead, ...], tuple[RefusedCase, ...]]:
    found, refused = list[OwnRead](), list[RefusedError]()
    for number, image in enumerate(request.images):
        progress("read images", number, len(request.images))
        try:
            pixels, repairs, spacing = image.read(request.spacing)
        except RefusedError as error:
            refused.append(error)
            continue
        height, width = pixels.shape
        name = f"image-{number:06}"
        case = SealedCase(
            case_id=name,
            height=height,
            width=width,
            file=f"{name}.grey",
            spacing_mm=spacing,
        )
        found.append(OwnRead(image, pixels, repairs, case))
    progress("read images", len(request.images), len(request.images))
    errors = [error.refusal.error() for error in refused]
    listed = tuple(
        RefusedCase(code=error.code, file=str(each.refusal.file), message=error.message)
        for each, error in zip(refused, errors, strict=True)
    )
    if errors and (not request.skip_refused or not found):
        repaired = {each.image.mask: "; ".join(each.repairs) for each in found if each.repairs}
        raise CasesRefusedError(errors[0], listed, repaired, cases=len(request.images))
    return tuple(found), listed


def _gate(folder: Path, place: Path, images: Sequence[OwnRead], *, context: Context) -> GateVerdict:
    """Pass the whole submission in `folder` through the gate, in `place`."""
    take(folder, place / "submission")
    return pass_gate(place, context, None, cases=[each.case for each in images])
