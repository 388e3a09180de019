"""The infer stage: sealed images and ONNX files in, packed masks out. It never sees a label.

One sweep a model and pass: the archive is opened again for each, so that images are never all in
memory. What may differ when the same is run again goes to `runtime.json`, beside the predictions.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluator.documents.base import read, write
from evaluator.documents.inference import GateVerdict, Measured, Runtime
from evaluator.documents.predictions import Predictions
from evaluator.documents.submission import ModelFile, Submission
from evaluator.errors import BusbenchError, Code
from evaluator.files import disk_errors, sha256_bytes, sha256_file
from evaluator.inference.backends import (
    InferSettings,
    Model,
    add_settings,
    open_model,
    settings_of,
)
from evaluator.inference.hardware import device_name
from evaluator.inference.repeat import draw_repeated, latency_ms, require_seed, run_again
from evaluator.inference.separable import is_separable
from evaluator.inference.speed import measure_batch
from evaluator.inference.sweep import Sweep, probe_inputs
from evaluator.inference.usage import Usage, measured_usage
from evaluator.predictions import DOCUMENT, RUNTIME, bits_file, predicted_cases
from evaluator.progress import Progress, print_line, quiet
from evaluator.sealed import decode_png, open_sealed

_HANDED_IN = "Hand in the folder again as `busbench check` accepted it."


class _Archive(NamedTuple):
    """What inference has to know of the sealed images before it runs over them."""

    seeds: tuple[str | None, ...]  # of each pass: None for the plain images
    repeat_seed: str
    cases: int
    first: tuple[NDArray[np.uint8], ...]  # the first two images


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
        out: an existing folder; `predictions.json` is written last.
        images: the sealed images, opened with the age identity in `key`.

    Raises:
        BusbenchError: `model-failed`, `model-nondeterministic`, `device-unavailable`,
            `bundle-invalid`, `keys-invalid`.
    """
    submission = _gated(folder, verdict)
    with measured_usage(settings) as usage:
        run = _Run(folder, submission, out, images, key, settings, usage)
        for number, declared in enumerate(submission.models, start=1):
            with closing(open_model(folder / declared.file, settings)) as model:
                what = f"inference {number} of {len(submission.models)}"
                run.sweep(model, declared, what, progress=progress)
    write(run.runtime(model), out / RUNTIME)
    predictions = run.predictions()
    write(predictions, out / DOCUMENT)
    return predictions


@dataclass
class _Run:
    """One submission on the sealed images, model by model."""

    folder: Path
    submission: Submission
    out: Path
    images: Path
    key: Path
    settings: InferSettings
    usage: Usage
    batch_size: int | None = None  # that suits the first model
    batch_sizes: dict[str, int] = field(default_factory=dict)  # by the model's file
    batch_dependent: list[str] = field(default_factory=list)
    seconds: list[list[float]] = field(default_factory=list)  # of repeated cases, by model
    masks: dict[str, str] = field(default_factory=dict)  # file -> digest

    def __post_init__(self) -> None:
        self.archive = _look_into(self.images, self.key)
        self.probes = probe_inputs(self.submission.input, self.archive.first)

    def sweep(self, model: Model, declared: ModelFile, what: str, *, progress: Progress) -> None:
        """Write a model's masks, of every pass."""
        size = self.settings.batch_size
        if self.batch_size is None:
            self.batch_size = measure_batch(model, self.probes[2:]) if size == "auto" else size
        plain = Sweep(
            model=model,
            file=declared.file,
            submission=self.submission,
            images=self.images,
            batch_size=self.batch_size,
            helpers=_helpers(self.settings),
        )
        if self.may_depend_on_batch(plain):
            progress(f"{declared.file} runs at batch 1: a larger batch may change its maps", 0, 1)
            plain = replace(plain, batch_size=1)
            self.batch_dependent.append(declared.file)
        self.batch_sizes[declared.file] = plain.batch_size
        seconds: list[float] = []
        for seed in self.archive.seeds:
            bits = self.out / bits_file(declared.fold, transformed=seed is not None)
            one, report = replace(plain, seed=seed), partial(progress, what)
            seen = f"{self.submission.digest}:{bits.name}"
            draw_some = partial(draw_repeated, self.archive.repeat_seed, seen)
            with self.usage.timed():
                first = _write_masks(one, self.key, bits, draw_some=draw_some, report=report)
            seconds += run_again(one, self.key, first)
            self.masks[bits.name] = sha256_file(bits)
        self.seconds.append(seconds)

    def may_depend_on_batch(self, sweep: Sweep) -> bool:
        """Whether it is not certain that an image's maps are the same in every batch."""
        if min(sweep.batch_size, self.archive.cases) < 2:
            return False
        apart = is_separable(self.folder / sweep.file, self.submission.input)
        return not apart or sweep.depends_on_batch(self.probes, self.archive.cases)

    def runtime(self, model: Model) -> Runtime:
        """What it ran on, once all models are done; `model` is any of them."""
        return Runtime(
            backend=model.backend,
            backend_version=model.version,
            provider=model.provider,
            device=self.settings.device,
            threads=self.settings.threads,
            measured=Measured(
                device_name=device_name(self.settings.device),
                latency_ms=max(map(latency_ms, self.seconds)),
                batch_sizes=tuple(self.batch_sizes.values()),
                batch_dependent=tuple(self.batch_dependent),
                repeated_cases=min(map(len, self.seconds)),
                **self.usage.fields(),
            ),
        )

    def predictions(self) -> Predictions:
        """The document on the masks that were written."""
        with open_sealed(self.images, self.key) as (index, _):
            plain, transformed = predicted_cases(index)
            return Predictions(
                submission_sha256=self.submission.digest,
                split_digest=index.split_digest,
                folds=tuple(model.fold for model in self.submission.models),
                cases=plain,
                transformed=transformed,
                masks=self.masks,
            )


def _gated(folder: Path, verdict: GateVerdict) -> Submission:
    """The submission in `folder`, which must be the one that the gate accepted."""
    submission = read(
        Submission, folder / "submission.yaml", Code.SUBMISSION_INVALID, remedy=_HANDED_IN
    )
    if verdict.submission_sha256 != submission.digest:
        raise BusbenchError(
            Code.SUBMISSION_INVALID, f"{folder} is not what the gate saw.", _HANDED_IN
        )
    return submission


def _look_into(images: Path, key: Path) -> _Archive:
    """The passes, the number of cases and the first images.

    The index, too large to be in memory beside another, is opened again when it is needed.
    """
    with open_sealed(images, key) as (index, cases):
        seed = index.consistency_seed
        seeds = (None,) if seed is None else (None, seed)
        first = tuple(decode_png(data, case, images) for case, data in islice(cases, 2))
        return _Archive(seeds, require_seed(index, images), len(index.cases), first)


def _helpers(settings: InferSettings) -> int:
    """Threads to prepare with, and to pack with: on a CPU they live beside the network's own."""
    return settings.threads if settings.device != "cpu" else max(1, settings.threads // 2)


def _write_masks(
    sweep: Sweep,
    key: Path,
    bits: Path,
    *,
    draw_some: Callable[[Collection[str]], Collection[str]],
    report: Callable[[int, int], None],
) -> Mapping[str, str]:
    """Write every case's mask to `bits`.

    Args:
        draw_some: from all case ids to those that are wanted.

    Returns:
        The digests of wanted packed masks, by case id.
    """
    digests: dict[str, str] = {}
    done = 0
    with (
        open_sealed(sweep.images, key) as (index, cases),
        disk_errors(bits),
        bits.open("wb") as sink,
        closing(sweep.masks(cases)) as results,
    ):
        total = len(index.cases)
        wanted = draw_some([case.case_id for case in index.cases])
        for masks in results:
            sink.writelines(packed for _, packed in masks)
            digests |= {name: sha256_bytes(packed) for name, packed in masks if name in wanted}
            done += len(masks)
            report(done, total)
    return digests


PATHS = ("submission", "gate", "images", "key", "out")
add_options = add_settings


def run(args: argparse.Namespace) -> None:
    """Run the gated models on the sealed images."""
    infer(
        args.submission,
        read(GateVerdict, args.gate, Code.STAGE_CRASHED, remedy="Run the evaluation again."),
        args.out,
        images=args.images,
        key=args.key,
        settings=settings_of(args),
        progress=print_line,
    )
