"""The infer stage: sealed images and ONNX files in, packed masks out. It never sees a label.

One sweep a model and pass: the archive is opened again for each, so that images are never all held.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from evaluator.backends import InferSettings, Model, open_model
from evaluator.consistency import draw
from evaluator.contract import (
    GateVerdict,
    PredictedCase,
    Predictions,
    Runtime,
    SealedIndex,
    Submission,
    read,
    write,
)
from evaluator.errors import BusbenchError, Code
from evaluator.files import disk_errors, sha256_file
from evaluator.hardware import device_name
from evaluator.predictions import DOCUMENT, bits_file
from evaluator.progress import Progress, quiet
from evaluator.sealed import open_sealed
from evaluator.speed import BatchTiming, measure
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
    submission = read(Submission, folder / "submission.yaml", Code.SUBMISSION_INVALID, _HANDED_IN)
    if verdict.submission_sha256 != submission.digest:
        raise BusbenchError(
            Code.SUBMISSION_INVALID, f"{folder} is not what the gate saw.", _HANDED_IN
        )
    seeds = _passes(images, key)
    pace: BatchTiming | None = None
    masks: dict[str, str] = {}
    for number, declared in enumerate(submission.models, start=1):
        tell = partial(progress, f"inference {number} of {len(submission.models)}")
        repeated = 0
        with closing(open_model(folder / declared.file, settings)) as model:
            pace = pace or measure(model, submission.input, settings.batch_size)
            helpers = _helpers(settings)
            plain = Sweep(model, declared.file, submission, images, pace.batch_size, helpers)
            for seed in seeds:
                bits = out / bits_file(declared.fold, moved=seed is not None)
                repeated += _write_masks(replace(plain, seed=seed), key, bits, tell)
                masks[bits.name] = sha256_file(bits)
    assert pace is not None  # a submission names at least one model
    with open_sealed(images, key) as (index, _):
        predictions = Predictions(
            submission_sha256=submission.digest,
            split_digest=index.split_digest,
            folds=tuple(model.fold for model in submission.models),
            cases=_predicted(index, None),
            moved=_predicted(index, index.consistency_seed) if len(seeds) > 1 else (),
            masks=masks,
            runtime=_runtime(model, settings, pace, repeated),
        )
    write(predictions, out / DOCUMENT)
    return predictions


def _passes(images: Path, key: Path) -> tuple[str | None, ...]:
    """The seed of each pass: None for the images as they are, then the one that moves them.

    The index, too large to be held beside another, is opened again when it is needed.
    """
    with open_sealed(images, key) as (index, _):
        return (None,) if index.consistency_seed is None else (None, index.consistency_seed)


def _predicted(index: SealedIndex, seed: str | None) -> tuple[PredictedCase, ...]:
    """Every case with the size of its image, as it is or moved."""
    seen = (
        (case, case if seed is None else draw(seed, case.case_id, case.height, case.width))
        for case in index.cases
    )
    return tuple(
        PredictedCase(case_id=case.case_id, height=shape.height, width=shape.width)
        for case, shape in seen
    )


def _runtime(model: Model, settings: InferSettings, pace: BatchTiming, repeated: int) -> Runtime:
    return Runtime(
        backend=model.backend,
        backend_version=model.version,
        provider=model.provider,
        device=settings.device,
        device_name=device_name(settings.device),
        threads=settings.threads,
        batch_size=pace.batch_size,
        latency_ms=pace.latency_ms,
        repeated_cases=repeated,
    )


def _helpers(settings: InferSettings) -> int:
    """Threads to prepare with, and to pack with: on a CPU they live beside the network's own."""
    return settings.threads if settings.device != "cpu" else max(1, settings.threads // 2)


def _write_masks(sweep: Sweep, key: Path, bits: Path, tell: Callable[[int, int], None]) -> int:
    """Write every case's mask to `bits`, then run some of the batches a second time.

    Returns:
        How many cases were run a second time, each with the same mask as before.
    """
    kept: list[Masks] = []
    done = 0
    with (
        open_sealed(sweep.images, key) as (index, cases),
        disk_errors(bits),
        bits.open("wb") as sink,
        closing(sweep.masks(cases)) as results,
    ):
        total = len(index.cases)
        drawn = batches_to_repeat(total, sweep.batch_size)
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
