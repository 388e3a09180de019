"""The infer stage: sealed images and ONNX files in, packed masks out. It never sees a label.

All models and passes share a sweep, where memory suffices for the models, so that each image is
read once for all of them; images are never all in memory. What may differ when the same is run
again goes to `runtime.json`, beside the predictions.
"""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluator.consistency import window_seeds
from evaluator.documents.base import read, write
from evaluator.documents.canvases import NO_SPACING, Canvases, check_images
from evaluator.documents.inference import GateVerdict, Measured, Runtime
from evaluator.documents.input_spec import InputSpec
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
from evaluator.inference.batches import depends_on_batch, depends_on_company, device_batch
from evaluator.inference.by_shape import ByShape
from evaluator.inference.hardware import device_name, free_memory
from evaluator.inference.ready import start_device
from evaluator.inference.repeat import draw_repeated, latency_ms, require_seed, run_again
from evaluator.inference.separable import is_separable
from evaluator.inference.speed import measure_batch
from evaluator.inference.sweep import LoadedModel, Sweep, probe_inputs
from evaluator.inference.tiles import TILES
from evaluator.inference.usage import Usage, measured_usage
from evaluator.predictions import DOCUMENT, RUNTIME, maps_file, predicted_cases
from evaluator.progress import Progress, print_line, quiet
from evaluator.sealed import open_sealed
from evaluator.waiting import add_wait, wait

SOME_MASKS = 1 << 19  # bytes that are written at once
SHARE = 0.8  # of the free memory that one more model may be expected to take
_HANDED_IN = "Hand in the folder again as `busbench check` accepted it."


class _Archive(NamedTuple):
    """What inference has to know of the sealed images before it runs over them."""

    seeds: tuple[str | None, ...]  # of each pass: None for the plain images
    repeat_seed: str
    cases: int
    largest: tuple[int, int]  # the largest canvas of any image
    first: tuple[NDArray[np.uint8], ...]  # the first two images


def infer(
    folder: Path,
    verdict: GateVerdict,
    out: Path,
    *,
    images: Path,
    key: Path,
    settings: InferSettings,
    probabilities: bool = False,
    usage: Usage | None = None,
    progress: Progress = quiet,
) -> Predictions:
    """Run every model of a gated submission on every sealed image, and on some of them twice.

    Args:
        folder: the submission: `submission.yaml` and the ONNX files it names.
        verdict: the gate's verdict on this very submission.
        out: an existing folder; `predictions.json` is written last.
        images: the sealed images, opened with the age identity in `key`.
        probabilities: whether those of the plain images are written beside the masks; there are
            none of a network that gives masks.
        usage: what measures the stage, where its device has begun already; None: it begins here.

    Raises:
        BusbenchError: `model-failed`, `model-nondeterministic`, `device-unavailable`,
            `bundle-invalid`, `keys-invalid`.
    """
    submission = _gated(folder, verdict)
    with measured_usage(settings) if usage is None else nullcontext(usage) as measured:
        maps = probabilities and submission.output.kind != "mask"
        run = _Run(folder, submission, out, images, key, settings, measured, maps)
        while run.pending:
            with ExitStack() as opened:
                run.sweep(run.load(opened, progress), progress)
    write(run.runtime(), out / RUNTIME)
    predictions = run.predictions()
    write(predictions, out / DOCUMENT)
    return predictions


@dataclass
class _Run:
    """One submission on the sealed images: all models in one sweep, where memory suffices."""

    folder: Path
    submission: Submission
    out: Path
    images: Path
    key: Path
    settings: InferSettings
    usage: Usage
    probabilities: bool  # whether they are written
    measured: int | None = None  # the batch size that suits the first model on a CPU
    batch_sizes: dict[str, int] = field(default_factory=dict)  # by the model's file
    batch_dependent: list[str] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)  # of single images, by file
    repeated: dict[str, int] = field(default_factory=dict)  # cases that were run again, by file
    masks: dict[str, str] = field(default_factory=dict)  # file -> digest
    maps: dict[str, str] = field(default_factory=dict)  # of the probabilities, where asked for
    by_shape: dict[str, ByShape] = field(default_factory=dict)  # by the model's file

    def __post_init__(self) -> None:
        self.pending = deque(self.submission.models)
        first = self.folder / self.pending[0].file
        with ThreadPoolExecutor(1) as pool:  # a device takes seconds to begin
            self.first: Future[Model] | None = pool.submit(open_model, first, self.settings)
            try:
                self.archive = _look_into(self.images, self.key, self.submission.input)
            except BaseException:
                if self.first.exception() is None:
                    self.first.result().close()
                raise
        spec = self.submission.input
        self.probes = (
            probe_inputs(spec, (), self.archive.largest)
            if spec.is_native
            else probe_inputs(spec, self.archive.first, spec.size)
        )

    def load(self, opened: ExitStack, progress: Progress) -> tuple[LoadedModel, ...]:
        """Load the next models: as many as memory suffices for, one at least.

        Args:
            opened: closes them.
        """
        loaded: list[LoadedModel] = []
        taken = 0  # bytes of the largest, when it runs
        while self.pending and (not loaded or self.may_join(taken)):
            before = free_memory(self.settings.device)
            declared = self.pending.popleft()
            path = self.folder / declared.file
            ahead = path.stat().st_size if self.first else 0  # weights that were there before
            model = self.first.result() if self.first else open_model(path, self.settings)
            self.first = None
            opened.callback(model.close)
            loaded.append(self.settle(model, declared, progress))
            taken = max(taken, ahead + before - free_memory(self.settings.device))
        self.backend = model
        total = len(self.submission.models)
        if len(loaded) < total:
            number = total - len(self.pending)
            span = f"{number - len(loaded) + 1} to {number}" if len(loaded) > 1 else f"{number}"
            progress(f"models are run apart, now {span} of {total}: memory is for so many", 0, 1)
        return tuple(loaded)

    def may_join(self, taken: int) -> bool:
        """Whether one more model may be loaded beside others, of which the largest takes `taken`.

        Where memory is limited, it is measured of one model; each Triton server has its own limits.
        """
        limits = self.settings.efficiency
        alone = limits is not None and not {"host_memory_mb", "gpu_memory_mb"}.isdisjoint(
            limits.stated
        )
        here = self.settings.backend == "onnxruntime" and not alone
        return here and taken < SHARE * free_memory(self.settings.device)

    def settle(self, model: Model, declared: ModelFile, progress: Progress) -> LoadedModel:
        """A model with the batches that suit it; it has run once."""
        loaded = LoadedModel(
            model=model,
            declared=declared,
            input=self.submission.input,
            output=self.submission.output,
            batch_size=self.suited_batch(model),
            fixed=self.on_device,
        )
        asked = self.settings.batch_size
        if loaded.input.is_native and self.on_device and asked not in ("auto", 1):
            progress(f"{declared.file} runs at batch 1: its images have shapes of their own", 0, 1)
        if self.may_depend_on_batch(loaded):
            progress(f"{declared.file} runs at batch 1: a larger batch may change its maps", 0, 1)
            loaded = replace(loaded, batch_size=1)
            self.batch_dependent.append(declared.file)
        self.batch_sizes[declared.file] = loaded.batch_size
        loaded.run(self.probes[: loaded.batch_size])
        if loaded.input.is_native and loaded.batch_size > 1:
            path = self.folder / declared.file

            def proven(height: int, width: int) -> bool:
                return is_separable(path, loaded.input, (height, width))

            together = ByShape(loaded.run, loaded.batch_size, proven)
            self.by_shape[declared.file] = together
            return replace(loaded, by_shape=together)
        return loaded

    def sweep(self, models: tuple[LoadedModel, ...], progress: Progress) -> None:
        """Write the masks of some models, of every pass, and run some cases again."""
        sweep = Sweep(
            models=models,
            submission=self.submission,
            images=self.images,
            helpers=_helpers(self.settings),
            seeds=self.archive.seeds,
            probabilities=self.probabilities,
        )
        files = {sweep.file(model, seed): model for model in models for seed in sweep.seeds}
        with self.usage.timed():
            first = self.write_masks(sweep, tuple(files), progress)
        again = run_again(sweep, self.key, first)
        for file, model in files.items():
            name = model.declared.file
            self.masks[file] = sha256_file(self.out / file)
            self.seconds[name] = self.seconds.get(name, []) + again[file]
            self.repeated[name] = self.repeated.get(name, 0) + len(first[file])
        for name in map(maps_file, (m.declared.fold for m in models if self.probabilities)):
            self.maps[name] = sha256_file(self.out / name)

    def write_masks(
        self, sweep: Sweep, files: tuple[str, ...], progress: Progress
    ) -> dict[str, dict[str, str]]:
        """Write every case's masks to `files`, and the probabilities that are asked for.

        Returns:
            By file, the digests of the packed masks of the cases that are to be run again.
        """
        with ExitStack() as stack:
            index, cases = stack.enter_context(open_sealed(self.images, self.key))
            stack.enter_context(disk_errors(self.out))
            sinks = {
                name: stack.enter_context((self.out / name).open("wb", SOME_MASKS))
                for name in files
            }
            if self.probabilities:
                folds = {sweep.file(m, None): m.declared.fold for m in sweep.models}
                levels = {
                    file: stack.enter_context((self.out / maps_file(fold)).open("wb"))
                    for file, fold in folds.items()
                }
            names, digests = [case.case_id for case in index.cases], dict[str, dict[str, str]]()
            wanted = {file: self.drawn(file, names) for file in files}
            done = 0
            for masks in stack.enter_context(closing(sweep.masks(cases))):
                sinks[masks.file].writelines(packed for _, packed in masks.packed)
                if masks.maps:
                    levels[masks.file].writelines(masks.maps)
                digests.setdefault(masks.file, {}).update(
                    (name, sha256_bytes(packed))
                    for name, packed in masks.packed
                    if name in wanted[masks.file]
                )
                if masks.file == files[-1]:
                    done += len(masks.packed)
                    progress("inference", done, len(names))
        return digests

    def drawn(self, file: str, names: Sequence[str]) -> frozenset[str]:
        """The cases of a file's masks that are run again."""
        return draw_repeated(self.archive.repeat_seed, f"{self.submission.digest}:{file}", names)

    @property
    def tiled(self) -> bool:
        """Whether images are cut into tiles."""
        return self.submission.input.is_tiled

    @property
    def on_device(self) -> bool:
        """Whether something else than the CPU computes."""
        return self.settings.device != "cpu"

    def suited_batch(self, model: Model) -> int:
        """Images a run, or tiles of one, if none changes another's maps."""
        asked = self.settings.batch_size
        if self.on_device and self.submission.input.is_native:
            return 1  # a device's bits depend on a batch's size, and shapes are of any number
        if self.on_device:
            found = device_batch(model, self.settings, self.probes)
        else:
            if self.measured is None:
                self.measured = measure_batch(model, self.probes[2:]) if asked == "auto" else asked
            found = self.measured
        return min(found, TILES) if self.tiled and asked == "auto" else found

    def may_depend_on_batch(self, loaded: LoadedModel) -> bool:
        """Whether it is not certain that an image's maps are the same in every batch."""
        size, cases = loaded.batch_size, self.archive.cases
        if loaded.input.is_native:
            return False  # it is asked for each shape that comes
        if (size if self.on_device or self.tiled else min(size, cases)) < 2:
            return False
        if not is_separable(self.folder / loaded.declared.file, self.submission.input):
            return True
        if self.on_device:
            return depends_on_company(loaded.run, self.probes, size)
        # an image has any number of tiles
        sizes = {*range(2, size + 1)} if self.tiled else {min(size, cases), cases % size} - {0, 1}
        return depends_on_batch(loaded.run, self.probes, sizes)

    def runtime(self) -> Runtime:
        """What it ran on, once all models are done."""
        apart = [file for file, together in self.by_shape.items() if together.dependent]
        return Runtime(
            backend=self.backend.backend,
            backend_version=self.backend.version,
            provider=self.backend.provider,
            device=self.settings.device,
            precision=self.settings.precision,
            fixed_batches=tuple(self.batch_sizes.values()) if self.on_device else (),
            repeatable=self.settings.device != "tensorrt",
            threads=self.settings.threads,
            measured=Measured(
                device_name=device_name(self.settings.device),
                latency_ms=max(map(latency_ms, self.seconds.values())),
                batch_sizes=tuple(self.batch_sizes.values()),
                batch_dependent=(*self.batch_dependent, *apart),
                repeated_cases=min(self.repeated.values()),
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
                maps=self.maps,
                threshold=self.submission.output.threshold if self.maps else None,
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


def _look_into(images: Path, key: Path, spec: InputSpec) -> _Archive:
    """The passes, the number of cases, their largest canvas, and the first images.

    The index, too large to be in memory beside another, is opened again when it is needed.

    Raises:
        BusbenchError: `submission-invalid` where the images cannot be prepared as declared.
    """
    with open_sealed(images, key) as (index, cases):
        seeds = (None, *window_seeds(index))
        if (problem := check_images(spec, index.cases)) is not None:
            raise BusbenchError(Code.SUBMISSION_INVALID, f"submission.yaml: {problem}.", NO_SPACING)
        first = tuple(image for _, image in cases.images(0, 2))
        largest = Canvases.of(spec, index.cases).largest
        return _Archive(seeds, require_seed(index, images), len(index.cases), largest, first)


def _helpers(settings: InferSettings) -> int:
    """Threads to prepare with, and to pack with: on a CPU they live beside the network's own."""
    return settings.threads if settings.device != "cpu" else max(1, settings.threads // 2)


PATHS = ("submission", "gate", "images", "key", "out")


def add_options(parser: argparse.ArgumentParser) -> None:
    """How models are run, whether their probabilities are kept, and to be started ahead."""
    add_settings(parser)
    parser.add_argument("--probabilities", action="store_true", help="write them beside the masks")
    add_wait(parser)


def run(args: argparse.Namespace) -> None:
    """Run the gated models on the sealed images."""
    settings = settings_of(args)
    with measured_usage(settings) as usage:
        if args.wait:
            _begin(settings)
        wait(args)
        infer(
            args.submission,
            read(GateVerdict, args.gate, Code.STAGE_CRASHED, remedy="Run the evaluation again."),
            args.out,
            images=args.images,
            key=args.key,
            settings=settings,
            probabilities=args.probabilities,
            usage=usage,
            progress=print_line,
        )


def _begin(settings: InferSettings) -> None:
    """Let the runtime and the device begin, which takes seconds; what fails is for the models."""
    if settings.backend == "onnxruntime" and settings.device != "tensorrt":  # which compiles first
        with TemporaryDirectory() as folder, suppress(BusbenchError):
            start_device(Path(folder), settings)
