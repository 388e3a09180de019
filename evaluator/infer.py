"""The infer stage: sealed images and ONNX files in, packed masks out. It never sees a label."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.backends import InferSettings, Model, open_model
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
from evaluator.predictions import DOCUMENT, bits_file, pack
from evaluator.preprocessing import to_input, to_mask
from evaluator.progress import Progress, quiet
from evaluator.sealed import decode_png, open_sealed

WARM_UP, TIMED = 2, 10  # runs at batch 1 for the latency


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
    """Run every model of a gated submission on every sealed image.

    Args:
        folder: the submission: `submission.yaml` and the ONNX files it names.
        verdict: the gate's verdict on this very submission.
        out: an existing folder; the document is written last.
        images: the sealed images, opened with the age identity in `key`.

    Raises:
        BusbenchError: `model-failed`, `device-unavailable`, `bundle-invalid`, `keys-invalid`.
    """
    remedy = "Hand in the folder again as `busbench check` accepted it."
    submission = read(Submission, folder / "submission.yaml", "submission-invalid", remedy)
    if verdict.submission_sha256 != submission.digest:
        raise BusbenchError("submission-invalid", f"{folder} is not what the gate saw.", remedy)
    runtime: Runtime | None = None
    cases: tuple[PredictedCase, ...] = ()
    for number, model_file in enumerate(submission.models):
        model = open_model(folder / model_file.file, settings)
        latency = _latency_ms(model, submission)
        what = f"inference {number + 1} of {len(submission.models)}"
        with open_sealed(images, key) as (index, stream):
            split_digest = index.split_digest
            pixels = (
                (case, decode_png(data, case, images))
                for case, data in _watch(stream, progress, what, len(index.cases))
            )
            bits = out / bits_file(model_file.fold)
            cases = tuple(_write_masks(model, submission, pixels, bits, _batch_size(settings)))
        if runtime is None:
            runtime = _runtime(model, settings, latency)
    assert runtime is not None  # a submission names at least one model
    predictions = Predictions(
        submission_sha256=submission.digest,
        split_digest=split_digest,
        folds=tuple(model.fold for model in submission.models),
        cases=cases,
        runtime=runtime,
    )
    write(predictions, out / DOCUMENT)
    return predictions


def _watch(
    stream: Iterator[tuple[SealedCase, bytes]], progress: Progress, what: str, total: int
) -> Iterator[tuple[SealedCase, bytes]]:
    for done, item in enumerate(stream, start=1):
        yield item
        progress(what, done, total)


def _write_masks(
    model: Model,
    submission: Submission,
    pixels: Iterator[tuple[SealedCase, NDArray[np.uint8]]],
    bits: Path,
    batch_size: int,
) -> Iterator[PredictedCase]:
    with bits.open("wb") as sink:
        while group := tuple(islice(pixels, batch_size)):
            batch = np.stack([to_input(image, submission.input) for _, image in group])
            for (case, image), output in zip(group, _maps(model, batch), strict=True):
                mask = to_mask(output[0], image.shape, submission.input, submission.output)
                sink.write(pack(mask))
                yield PredictedCase(case_id=case.case_id, height=case.height, width=case.width)


def _maps(model: Model, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """The model's maps (N, 1, H, W) of a batch, held to what was declared."""
    maps = model.run(batch)
    expected = (batch.shape[0], 1, *batch.shape[2:])
    if maps.shape != expected:
        raise BusbenchError(
            "model-failed",
            f"A model gave an output of shape {maps.shape}, not {expected}.",
            "Export one map per image, at the input's size.",
        )
    if not np.isfinite(maps).all():
        raise BusbenchError(
            "model-failed",
            "A model gave NaN or infinite values.",
            "Look at the training: the network diverged, or fp16 overflowed.",
        )
    return maps


def _latency_ms(model: Model, submission: Submission) -> float:
    """Median milliseconds for one image at batch 1, after a warm-up: the network alone."""
    channels = 3 if submission.input.channels == "rgb" else 1
    image = np.zeros((1, channels, submission.input.height, submission.input.width), np.float32)
    times = []
    for _ in range(WARM_UP + TIMED):
        start = time.perf_counter()
        model.run(image)
        times.append(time.perf_counter() - start)
    return round(1000 * statistics.median(times[WARM_UP:]), 3)


def _batch_size(settings: InferSettings) -> int:
    return 8 if settings.batch_size == "auto" else settings.batch_size


def _runtime(model: Model, settings: InferSettings, latency: float) -> Runtime:
    return Runtime(
        backend=model.backend,
        backend_version=model.version,
        provider=model.provider,
        device=settings.device,
        threads=settings.threads,
        batch_size=_batch_size(settings),
        latency_ms=latency,
    )
