"""Parts of a prediction: images that one start of the models is given, kept until all are done.

    .MASKS.unfinished/predict.json     what is asked for
    .MASKS.unfinished/gate/            the submission, and the gate's verdict
    .MASKS.unfinished/part-<n>/        masks and `predict.json` of one part, which appears whole

In an empty folder that was there before, it is `MASKS/.busbench.unfinished`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from evaluator.documents.base import read, write
from evaluator.documents.inference import GateVerdict
from evaluator.documents.sealed import SealedCase
from evaluator.documents.submission import Submission
from evaluator.errors import BusbenchError, Code
from evaluator.files import disk_errors, sha256_bytes, write_atomically
from evaluator.predictions import bits_file, majority, open_predictions, read_packed, unpack
from evaluator.progress import Progress
from harness.datasets.own_images import OwnImage
from harness.datasets.repair import Grey, Repairs
from harness.evaluation.ephemeral import seal_once
from harness.evaluation.predict_record import RECORD, PredictedImage, PredictRecord, made_before
from harness.evaluation.sealed_files import SealedImages
from harness.evaluation.settings import EvaluateSettings
from harness.evaluation.stage_output import require_whole
from harness.evaluation.stages import run_models
from harness.evaluation.validation import narrow
from harness.folders import beside, require_same, whole_folder
from harness.sandbox.cached import Context
from harness.store import png_bytes


@dataclass(frozen=True)
class OwnRead:
    """An image that was read."""

    image: OwnImage
    pixels: Grey
    repairs: Repairs
    case: SealedCase


@dataclass(frozen=True)
class Models:
    """Models that passed the gate, and how they are run."""

    part: Submission  # with those models alone
    gate: Path  # the folder in which the whole submission passed
    verdict: GateVerdict
    settings: EvaluateSettings


@contextmanager
def unfinished(out: Path, record: PredictRecord) -> Iterator[Path]:
    """Yield the folder of what is done so far, which is removed at the end.

    After an error it is kept where a part is done: the same command goes on from there.

    Args:
        record: what is asked for.

    Raises:
        BusbenchError: `output-exists` where an interrupted run was asked for something else.
    """
    place = _place_of(out)
    with disk_errors(place):
        if (place / RECORD).is_file():
            remedy = f"Remove {place}, or name a new folder with --out."
            before = read(PredictRecord, place / RECORD, Code.OUTPUT_EXISTS, remedy=remedy)
            require_same(place, before.differing(record))
        else:
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            write(record, place / RECORD)
        try:
            yield place
        except BaseException:
            if not any(place.glob(f"part-*/{RECORD}")):
                shutil.rmtree(place, ignore_errors=True)
            raise
        shutil.rmtree(place)


def discard_unfinished(out: Path) -> None:
    """Remove what a run left that was killed when its masks were whole."""
    shutil.rmtree(_place_of(out), ignore_errors=True)


def _place_of(out: Path) -> Path:
    out = out.absolute()
    others = out.with_name(f".{out.name}.unfinished")  # of a run that began when `out` was new
    return others if others.exists() else beside(out, "unfinished")


def predict_part(
    place: Path,
    images: Sequence[OwnRead],
    record: PredictRecord,
    *,
    models: Models,
    context: Context,
) -> PredictRecord:
    """Predict the masks of `images` into the folder `place`, unless they are there and unchanged.

    Args:
        record: what is asked for.

    Returns:
        The record, with these images.

    Raises:
        BusbenchError: whatever inference ends with.
    """
    if (place / RECORD).is_file():
        try:
            return made_before(place, record)
        except BusbenchError:
            shutil.rmtree(place)  # damaged: made again
    with (
        TemporaryDirectory(prefix="busbench-predict-") as name,
        whole_folder(place, last=RECORD) as partial,
    ):
        work = Path(name)
        narrow(models.gate, models.verdict, models.part, place=work)
        masks = _infer(work, models.part, images, settings=models.settings, context=context)
        made = tuple(_write_all(partial, images, masks, progress=context.progress))
        record = record.model_copy(update={"images": made})
        write(record, partial / RECORD)
    return record


def copy_masks(record: PredictRecord, place: Path, to: Path) -> None:
    """Copy the masks of a part."""
    with disk_errors(to):
        for each in record.images:
            (to / each.mask).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(place / each.mask, to / each.mask)


def _infer(
    work: Path,
    part: Submission,
    images: Sequence[OwnRead],
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
    images: Sequence[OwnRead],
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
