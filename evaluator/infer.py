"""The infer stage: sealed images and ONNX files in, packed masks out. It never sees a label.

One sweep a model: the archive is opened again for each, so that images are never all held.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

from evaluator.backends import InferSettings, open_model
from evaluator.contract import (
    GateVerdict,
    PredictedCase,
    Predictions,
    Runtime,
    SealedCase,
    Submission,
    read,
    write,
)
from evaluator.errors import BusbenchError
from evaluator.files import disk_errors
from evaluator.hardware import device_name
from evaluator.predictions import DOCUMENT, bits_file
from evaluator.progress import Progress, quiet
from evaluator.sealed import open_sealed
from evaluator.speed import Pace, measure
from evaluator.sweep import Masks, Sweep

REPEATED, REPEAT_SEED = 8, 20  # cases that are run a second time, at least, and how they are drawn
_HANDED_IN = "Hand in the folder again as `busbench check` accepted it."


def infer(
    folder: Path,
    verdict: GateVerdict,
    out: Path,
    *,
    images: Path,
    key: Path,
    settings: InferSettings,
    progress: Progress = quiet,
) -> Predictions:
    """Run every model of a gated submission on every sealed image, and on some of them twice.

    Args:
        folder: the submission: `submission.yaml` and the ONNX files it names.
        verdict: the gate's verdict on this very submission.
        out: an existing folder; the document is written last.
        images: the sealed images, opened with the age identity in `key`.

    Raises:
        BusbenchError: `model-failed`, `model-nondeterministic`, `device-unavailable`,
            `bundle-invalid`, `keys-invalid`.
    """
    submission = read(Submission, folder / "submission.yaml", "submission-invalid", _HANDED_IN)
    if verdict.submission_sha256 != submission.digest:
        raise BusbenchError("submission-invalid", f"{folder} is not what the gate saw.", _HANDED_IN)
    pace: Pace | None = None
    for number, declared in enumerate(submission.models, start=1):
        with (
            closing(open_model(folder / declared.file, settings)) as model,
            open_sealed(images, key) as (index, cases),
        ):
            pace = pace or measure(model, submission.input, settings.batch_size)
            sweep = Sweep(
                model, declared.file, submission, images, pace.batch_size, _helpers(settings)
            )
            tell = partial(progress, f"inference {number} of {len(submission.models)}")
            bits = out / bits_file(declared.fold)
            repeated = _write_masks(sweep, cases, len(index.cases), bits, tell)
    assert pace is not None  # a submission names at least one model
    predictions = Predictions(
        submission_sha256=submission.digest,
        split_digest=index.split_digest,
        folds=tuple(model.fold for model in submission.models),
        cases=tuple(
            PredictedCase(case_id=case.case_id, height=case.height, width=case.width)
            for case in index.cases
        ),
        runtime=Runtime(
            backend=model.backend,
            backend_version=model.version,
            provider=model.provider,
            device=settings.device,
            device_name=device_name(settings.device),
            threads=settings.threads,
            batch_size=pace.batch_size,
            latency_ms=pace.latency_ms,
            repeated_cases=repeated,
        ),
    )
    write(predictions, out / DOCUMENT)
    return predictions


def _helpers(settings: InferSettings) -> int:
    """Threads to prepare with, and to pack with: on a CPU they live beside the network's own."""
    return settings.threads if settings.device != "cpu" else max(1, settings.threads // 2)


def _write_masks(
    sweep: Sweep,
    cases: Iterator[tuple[SealedCase, bytes]],
    total: int,
    bits: Path,
    tell: Callable[[int, int], None],
) -> int:
    """Write every case's mask to `bits`, then run some of the batches a second time.

    Returns:
        How many cases were run a second time, each with the same mask as before.
    """
    drawn = batches_to_repeat(total, sweep.batch_size)
    kept: list[Masks] = []
    done = 0
    with disk_errors(bits), bits.open("wb") as sink, closing(sweep.masks(cases)) as results:
        for masks in results:
            sink.writelines(masks.packed)
            done += len(masks.packed)
            if masks.batch.number in drawn:
                kept.append(masks)
            tell(done, total)
    for masks in kept:
        sweep.repeat(masks)
    return sum(len(masks.packed) for masks in kept)


def batches_to_repeat(total: int, batch_size: int) -> set[int]:
    """Numbers of drawn batches that hold `REPEATED` cases or more, or all that there are.

    Whole batches, because arithmetic may depend on a batch's size.
    """
    sizes = [min(batch_size, total - start) for start in range(0, total, batch_size)]
    drawn: set[int] = set()
    for number in random.Random(REPEAT_SEED).sample(range(len(sizes)), len(sizes)):
        if sum(sizes[taken] for taken in drawn) < REPEATED:
            drawn.add(number)
    return drawn
