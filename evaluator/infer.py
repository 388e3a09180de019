"""The infer stage: sealed images and ONNX files in, packed masks out. It never sees a label."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evaluator.backends import OnnxRuntimeModel
from evaluator.consistency import move_case
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


@dataclass(frozen=True)
class InferSettings:
    """How to run: nothing here changes a mask, apart from the device's arithmetic."""

    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = 1
    batch_size: int = 8


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
    with open_sealed(images, key) as (index, _):
        split_digest, seed = index.split_digest, index.consistency_seed
    cases: dict[bool, tuple[PredictedCase, ...]] = {}  # of the images as they are, and moved
    for number, model_file in enumerate(submission.models):
        model = OnnxRuntimeModel(folder / model_file.file, settings.device, settings.threads)
        latency = _latency_ms(model, submission)
        what = f"inference {number + 1} of {len(submission.models)}"
        for moved in (False, True) if seed else (False,):
            with open_sealed(images, key) as (index, stream):
                pixels = (
                    _picture(case, data, images, seed if moved else None)
                    for case, data in _watch(stream, progress, what, len(index.cases))
                )
                bits = out / bits_file(model_file.fold, moved)
                written = _write_masks(model, submission, pixels, bits, settings.batch_size)
                cases[moved] = tuple(written)
        if runtime is None:
            runtime = _runtime(model, settings, latency)
    assert runtime is not None  # a submission names at least one model
    predictions = Predictions(
        submission_sha256=submission.digest,
        split_digest=split_digest,
        folds=tuple(model.fold for model in submission.models),
        cases=cases[False],
        moved=cases.get(True, ()),
        runtime=runtime,
    )
    write(predictions, out / DOCUMENT)
    return predictions


def _picture(
    case: SealedCase, data: bytes, images: Path, seed: str | None
) -> tuple[SealedCase, NDArray[np.uint8]]:
    """A case and its image, both moved where a seed is given."""
    image = decode_png(data, case, images)
    return (case, image) if seed is None else move_case(seed, case, image)


def _watch(
    stream: Iterator[tuple[SealedCase, bytes]], progress: Progress, what: str, total: int
) -> Iterator[tuple[SealedCase, bytes]]:
    for done, item in enumerate(stream, start=1):
        yield item
        progress(what, done, total)


def _write_masks(
    model: OnnxRuntimeModel,
    submission: Submission,
    pixels: Iterator[tuple[SealedCase, NDArray[np.uint8]]],
    bits: Path,
    batch_size: int,
) -> Iterator[PredictedCase]:
    with bits.open("wb") as sink:
        while group := tuple(islice(pixels, batch_size)):
            batch = np.stack([to_input(image, submission.input) for _, image in group])
            for (case, image), output in zip(group, model.run(batch), strict=True):
                mask = to_mask(output, image.shape, submission.input, submission.output)
                sink.write(pack(mask))
                yield PredictedCase(case_id=case.case_id, height=case.height, width=case.width)


def _latency_ms(model: OnnxRuntimeModel, submission: Submission) -> float:
    """Median milliseconds for one image at batch 1, after a warm-up: the network alone."""
    channels = 3 if submission.input.channels == "rgb" else 1
    image = np.zeros((1, channels, submission.input.height, submission.input.width), np.float32)
    times = []
    for _ in range(WARM_UP + TIMED):
        start = time.perf_counter()
        model.run(image)
        times.append(time.perf_counter() - start)
    return round(1000 * statistics.median(times[WARM_UP:]), 3)


def _runtime(model: OnnxRuntimeModel, settings: InferSettings, latency: float) -> Runtime:
    return Runtime(
        backend=model.backend,
        backend_version=model.version,
        provider=model.provider,
        device=settings.device,
        threads=settings.threads,
        batch_size=settings.batch_size,
        latency_ms=latency,
    )
