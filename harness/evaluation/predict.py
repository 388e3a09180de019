"""Prediction of masks on images of one's own, by the stages that an evaluation has.

    MASKS/<name>.png       a mask for each image, one bit a pixel, at the image's own size
    MASKS/predict.json     last: what was predicted by what

The gate comes first. Images are sealed like test images, to a key that is in memory alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

import harness
from evaluator.documents.base import CASE_BY_CASE, Contract, Digest, Fold, read, write
from evaluator.documents.inference import Backend, Device, Precision
from evaluator.documents.reading import Bounds
from evaluator.documents.sealed import SealedCase
from evaluator.documents.submission import Submission
from evaluator.errors import BusbenchError, Code
from evaluator.files import (
    canonical_json,
    sha256_bytes,
    sha256_file,
    sha256_pixels,
    write_atomically,
)
from evaluator.predictions import bits_file, open_predictions, read_packed, unpack
from evaluator.progress import Progress, quiet
from harness.datasets.base import RefusedError
from harness.datasets.own_images import OwnImage
from harness.datasets.repair import Grey, Repairs
from harness.evaluation.ephemeral import seal_once
from harness.evaluation.stages import (
    EvaluateSettings,
    SealedImages,
    pass_gate,
    require_whole,
    run_models,
)
from harness.evaluation.validation import narrow
from harness.execution.job import ExecutionEnvironment
from harness.folders import one_at_a_time, require_same, whole_folder
from harness.prepare import CasesRefusedError, RefusedCase
from harness.sandbox.cached import Context
from harness.sandbox.stage import RunnerName
from harness.store import png_bytes
from harness.submission import read_submission, take

RECORD = "predict.json"
Chosen = Fold | Literal["all"]


class PredictedImage(Contract):
    """One image and its mask."""

    image: str
    mask: str  # relative to the record
    mask_sha256: Digest  # of the file
    height: int
    width: int
    lesion_px: int
    spacing_mm: tuple[float, float] | None  # (row, column), as the file or --spacing says
    repairs: tuple[str, ...]  # what was changed in the image before it was predicted


class PredictRecord(Contract):
    """`predict.json`: the images that were predicted, and what decided their masks."""

    bounds: ClassVar[Bounds] = CASE_BY_CASE
    schema_: Literal["busbench/predict/v2"] = Field(default="busbench/predict/v2", alias="schema")
    busbench: str
    submission_sha256: Digest
    fold: Chosen
    images_sha256: Digest  # over the names of the masks and the pixels of the images
    spacing: tuple[float, float] | None  # of images that state none
    device: Device
    precision: Precision
    backend: Backend
    runner: RunnerName
    images: tuple[PredictedImage, ...] = ()
    refused: tuple[RefusedCase, ...] = ()

    def differing(self, other: PredictRecord) -> dict[str, bool]:
        """Whether each setting of another run differs, by its name on the command line."""
        fields = {
            "submission": "submission_sha256",
            "--fold": "fold",
            "content of the images": "images_sha256",
            "--spacing": "spacing",
            "--device": "device",
            "--precision": "precision",
            "--backend": "backend",
            "--runner": "runner",
            "version of busbench": "busbench",
        }
        return {
            name: getattr(self, value) != getattr(other, value) for name, value in fields.items()
        }


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


@dataclass(frozen=True)
class _Read:
    """An image that was read."""

    image: OwnImage
    pixels: Grey
    repairs: Repairs
    case: SealedCase


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
    names = {each.image.mask: sha256_pixels(each.pixels) for each in images}
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
            return Prediction(out, _made_before(out, record), resumed=True)
        with whole_folder(out, last=RECORD) as partial:
            with (
                how.open(progress, gpu=settings.device != "cpu") as context,
                tempfile.TemporaryDirectory(prefix="busbench-predict-") as work,
            ):
                _gate(request.submission, part, Path(work), images=images, context=context)
                masks = _infer(Path(work), part, images, settings=settings, context=context)
                made = tuple(_write_all(partial, images, masks, progress=progress))
            record = record.model_copy(update={"images": made})
            write(record, partial / RECORD)
    return Prediction(out, record, resumed=False)


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


def _require_spacings(submission: Submission, images: Sequence[_Read]) -> None:
    """Raise `usage` where an image cannot be resampled as the submission declares."""
    lacking = [each for each in images if each.case.spacing_mm is None]
    if submission.input.spacing is not None and lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        message = (
            f"The submission resamples to {submission.input.spacing:g} mm a pixel, and "
            f"{lacking[0].image.path}{more} state no spacing."
        )
        raise BusbenchError(Code.USAGE, message, "Say how large their pixels are with --spacing.")


def majority(masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """What more than half of the masks (H, W) mark: their mean, cut at 0.5."""
    return np.asarray(2 * np.sum(masks, axis=0, dtype=np.int16) > len(masks))


def _made_before(out: Path, wanted: PredictRecord) -> PredictRecord:
    """The record of finished masks, which must be those that are wanted, and whole."""
    remedy = "Name a new folder with --out."
    before = read(PredictRecord, out / RECORD, Code.OUTPUT_EXISTS, remedy=remedy)
    require_same(out, before.differing(wanted))
    for each in before.images:
        path = out / each.mask
        if not path.is_file() or sha256_file(path) != each.mask_sha256:
            message = f"{path} was changed or removed after it was predicted."
            raise BusbenchError(Code.OUTPUT_EXISTS, message, remedy)
    return before


def _read_all(
    request: PredictRequest, progress: Progress
) -> tuple[tuple[_Read, ...], tuple[RefusedCase, ...]]:
    found, refused = list[_Read](), list[RefusedError]()
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
        found.append(_Read(image, pixels, repairs, case))
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


def _gate(
    folder: Path, part: Submission, work: Path, *, images: Sequence[_Read], context: Context
) -> None:
    """Pass the whole submission in `folder` through the gate; leave `part` of it in `work`."""
    with_all = work / "whole"
    take(folder, with_all / "submission")
    verdict = pass_gate(with_all, context, None, cases=[each.case for each in images])
    narrow(with_all, verdict, part, place=work)


def _infer(
    work: Path,
    part: Submission,
    images: Sequence[_Read],
    *,
    settings: EvaluateSettings,
    context: Context,
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Run the models of `part`, which passed the gate and are in `work`.

    Returns:
        Case id and mask (H, W) of each image.
    """
    archive = seal_once(
        work / "sealed" / "images.age",
        [each.case for each in images],
        (each.pixels.tobytes() for each in images),
        split_digest=part.digest,
    )
    files = SealedImages(*archive)
    run_models(work, files, settings, context=context)
    require_whole(work, files, settings)
    found = open_predictions(work / "infer")
    bits = [work / "infer" / bits_file(fold) for fold in found.folds]
    by_case = zip(*(read_packed(file, found.cases) for file in bits), strict=True)
    return (
        (same[0][0].case_id, majority([unpack(data, c.height, c.width) for c, data in same]))
        for same in by_case
    )


def _write_all(
    folder: Path,
    images: Sequence[_Read],
    masks: Iterator[tuple[str, NDArray[np.bool_]]],
    *,
    progress: Progress,
) -> Iterator[PredictedImage]:
    known = {each.case.case_id: each for each in images}
    for done, (case_id, mask) in enumerate(masks, 1):
        each = known[case_id]
        data = png_bytes(mask)
        write_atomically(folder / each.image.mask, data)
        yield PredictedImage(
            image=str(each.image.path),
            mask=each.image.mask,
            mask_sha256=sha256_bytes(data),
            height=mask.shape[0],
            width=mask.shape[1],
            lesion_px=int(mask.sum()),
            spacing_mm=each.case.spacing_mm,
            repairs=each.repairs,
        )
        progress("masks", done, len(images))
