"""Models over all sealed cases, in their order: reading, networks and packing overlap.

Each case is read and decrypted once for all models and passes, and resampled once for all models.
Threads share the work in small parts of a batch; what takes time in them releases Python's lock.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import repeat
from math import lcm
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from evaluator.consistency import transform_case
from evaluator.documents.base import Digest
from evaluator.documents.input_spec import InputSpec
from evaluator.documents.sealed import SealedCase
from evaluator.documents.submission import ModelFile, OutputSpec, Submission
from evaluator.errors import BusbenchError, Code
from evaluator.inference.backends import Model
from evaluator.inference.batches import fill
from evaluator.inference.by_shape import ByShape, Several
from evaluator.inference.outputs import background, find_trouble
from evaluator.inference.preprocessing import to_input, to_packed_mask, to_probabilities
from evaluator.inference.tiles import first_tile, map_image
from evaluator.predictions import bits_file
from evaluator.sealed import Cases

Item = TypeVar("Item")
Result = TypeVar("Result")
Inputs = NDArray[np.float32]
Image = tuple[SealedCase, NDArray[np.uint8]]  # (H, W)
PART = 8  # images that a thread prepares or packs at a time: few, so that all threads have some
_OUTPUT = "Compare the model's output with `output` in submission.yaml, on images of your own."


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A model of the submission, and the batches that it runs in."""

    model: Model
    declared: ModelFile
    input: InputSpec
    output: OutputSpec
    batch_size: int  # of tiles, where images are cut into them
    fixed: bool = False  # whether all runs have `batch_size` images, as a device's do
    by_shape: ByShape | None = None  # how native images of one shape are run together, where any

    def maps(self, inputs: Several) -> Several:
        """The maps (K, H, W) of the inputs (C, H, W) of whole images."""
        if self.input.is_tiled:
            outside, size = background(self.output.kind), self.batch_size
            return [
                map_image(each, self.input, self.run, outside=outside, size=size) for each in inputs
            ]
        if self.by_shape is not None:
            return self.by_shape.run(inputs)
        if self.input.is_native:
            return [self.run(each[None])[0] for each in inputs]
        return self.run(inputs if isinstance(inputs, np.ndarray) else np.stack(inputs))

    def timed(self, image: Inputs) -> tuple[float, NDArray[np.float32]]:
        """Seconds that an input (C, H, W) takes alone, and its maps (1, K, H, W)."""
        start = time.perf_counter()
        if self.input.is_tiled:
            (tiled,) = self.maps([image])
            return time.perf_counter() - start, tiled[None]
        maps = self.model.run(image[None])
        return time.perf_counter() - start, self.sound(maps, image[None].shape)

    def run(self, inputs: Inputs) -> NDArray[np.float32]:
        """Maps (N, K, height, width) of inputs (N, C, height, width), as they were declared."""
        size = self.batch_size
        done = [self._run(inputs[at : at + size]) for at in range(0, len(inputs), size)]
        return done[0] if len(done) == 1 else np.concatenate(done)

    def _run(self, inputs: Inputs) -> NDArray[np.float32]:
        given = fill(inputs, self.batch_size) if self.fixed else inputs
        return self.sound(self.model.run(given), given.shape)[: len(inputs)]

    def sound(self, maps: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """The maps of inputs of `shape`.

        Raises:
            BusbenchError: `model-failed` where they are of another shape, type or range.
        """
        trouble = find_trouble(maps, shape, self.output)
        if trouble is not None:
            raise BusbenchError(
                Code.MODEL_FAILED, f"{self.declared.file}: {trouble.without_numbers}", _OUTPUT
            )
        return maps


class Prepared(NamedTuple):
    """A case as the network's input."""

    case: SealedCase  # with the size of its plain or transformed image
    input: NDArray[np.float32]  # (C, H, W) of its canvas


class _Images:
    """Some images that follow on each other, read by the first thread that asks for them."""

    def __init__(self, cases: Cases, start: int, end: int) -> None:
        self._cases, self._span = cases, (start, end)
        self._lock, self._read = threading.Lock(), list[Image]()

    def read(self) -> list[Image]:
        """The cases and their images, once for all passes."""
        with self._lock:
            self._read = self._read or self._cases.images(*self._span)
            return self._read


class _Part(NamedTuple):
    """Images that are to be prepared, and their places in the inputs of a batch."""

    seed: Digest | None
    images: _Images
    inputs: Inputs | None  # (N, C, height, width) of the whole batch; None: each of its own size
    start: int
    total: int  # cases of the whole batch


class Batch(NamedTuple):
    """Cases of one pass that go through the networks together."""

    seed: Digest | None  # of the pass
    cases: tuple[SealedCase, ...]
    inputs: Several  # (C, H, W) each


class Predicted(NamedTuple):
    """Maps of a model for some cases of a pass."""

    model: LoadedModel
    seed: Digest | None
    cases: Sequence[SealedCase]
    maps: Several  # (K, H, W) each


class Masks(NamedTuple):
    """The packed masks of a model for some cases of a pass."""

    model: LoadedModel
    file: str  # that they belong to
    packed: Sequence[tuple[str, bytes]]  # by case id
    maps: Sequence[bytes] = ()  # the probabilities, where they are asked for: a byte a pixel


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Models over all sealed cases, in their order, in every pass."""

    models: tuple[LoadedModel, ...]
    submission: Submission
    images: Path  # the sealed archive
    helpers: int  # threads that prepare, and threads that pack
    seeds: tuple[Digest | None, ...] = (None,)  # of each pass: None for the plain images
    probabilities: bool = False  # whether those of the plain images are wanted, too

    def file(self, model: LoadedModel, seed: Digest | None) -> str:
        """The file of the masks of a model in a pass."""
        return bits_file(model.declared.fold, self.seeds.index(seed))

    def prepare(
        self, item: Image, seed: Digest | None, out: NDArray[np.float32] | None = None
    ) -> Prepared:
        """An image as the network's input, plain or transformed.

        Args:
            out: where the input (C, height, width) goes; None: to memory of its own.
        """
        case, image = item
        if seed is not None:
            case, image = transform_case(seed, case, image)
        spacing = case.spacing_mm
        return Prepared(case, to_input(image, self.submission.input, out, spacing=spacing))

    def pack(self, predicted: Predicted) -> Masks:
        """The masks of some maps, on their images' own grids."""
        model, seed, cases, maps = predicted

        def on_grid(
            convert: Callable[..., bytes], case: SealedCase, each: NDArray[np.float32]
        ) -> bytes:
            size, declared = (case.height, case.width), self.submission.input
            return convert(each, size, declared, outputs=model.output, spacing=case.spacing_mm)

        pairs = list(zip(cases, maps, strict=True))
        packed = [(case.case_id, on_grid(to_packed_mask, case, each)) for case, each in pairs]
        asked = self.probabilities and seed is None
        levels = [on_grid(to_probabilities, case, each) for case, each in pairs if asked]
        return Masks(model, self.file(model, seed), packed, levels)

    def masks(self, cases: Cases) -> Generator[Masks]:
        """The masks of all models, batch by batch; reading, networks and packing overlap."""
        # a model's batches begin at multiples of its own size, as if it ran alone
        sizes = (model.batch_size for model in self.models)
        # an image that is cut into tiles is batches of its own
        size = 1 if self.submission.input.is_tiled else lcm(*sizes)
        helpers, flying = self.helpers, min(model.model.in_flight for model in self.models)
        ahead = max(helpers, -(-size // PART))
        filled = overlapped(self._fill, self._parts(cases, size), helpers, ahead=ahead)
        results = overlapped(self._run, _batches(filled), flying, ahead=flying)
        return overlapped(self.pack, _apart(results), helpers, ahead=helpers)

    def _parts(self, cases: Cases, size: int) -> Iterator[_Part]:
        """The cases in batches of `size`, one a pass, each in parts."""
        spec, alike = self.submission.input, self.submission.input.mode == "resized"
        number = len(cases.index.cases)
        for at in range(0, number, size):
            total = min(size, number - at)
            starts = range(0, total, PART)
            images = [_Images(cases, at + s, at + min(s + PART, total)) for s in starts]
            for seed in self.seeds:
                shape = (total, spec.depth, *spec.size) if alike else ()
                inputs = np.empty(shape, np.float32) if alike else None
                for start, some in zip(starts, images, strict=True):
                    yield _Part(seed, some, inputs, start, total)

    def _fill(self, part: _Part) -> tuple[_Part, list[Prepared]]:
        """Write a part's inputs; its cases with the sizes that they have in this pass."""
        places = repeat(None) if part.inputs is None else part.inputs[part.start :]
        return part, [
            self.prepare(item, part.seed, out)
            for item, out in zip(part.images.read(), places, strict=False)
        ]

    def _run(self, batch: Batch) -> list[Predicted]:
        """A batch through every model."""
        return [
            Predicted(model, batch.seed, batch.cases, model.maps(batch.inputs))
            for model in self.models
        ]


def _batches(filled: Generator[tuple[_Part, list[Prepared]]]) -> Generator[Batch]:
    """Batches whose parts are all there."""
    with closing(filled):
        done: list[Prepared] = []
        for part, some in filled:
            done += some
            if len(done) == part.total:
                cases = tuple(each.case for each in done)
                own = [each.input for each in done] if part.inputs is None else part.inputs
                yield Batch(part.seed, cases, own)
                done = []


def _apart(results: Generator[list[Predicted]]) -> Generator[Predicted]:
    """The maps of each model, in parts that threads can share."""
    with closing(results):
        for result in results:
            for model, seed, cases, maps in result:
                for start in range(0, len(cases), PART):
                    some = slice(start, start + PART)
                    yield Predicted(model, seed, cases[some], maps[some])


def probe_inputs(
    spec: InputSpec, images: Sequence[NDArray[np.uint8]], size: tuple[int, int]
) -> Inputs:
    """Inputs (4, C, height, width): low contrast, full range, and two of `images` (H, W).

    Args:
        images: none where they have sizes of their own, or are to be scaled by a spacing.
        size: of the images that are made, in pixels.
    """
    draw, plain = np.random.default_rng(0), spec.model_copy(update={"spacing": None})
    made = [draw.integers(low, high, size, np.uint8) for low, high in ((100, 110), (0, 256))]
    chosen = [images[number % len(images)] for number in range(2)] if images else made
    inputs = [to_input(image, plain) for image in (*made, *chosen)]
    if spec.is_tiled:
        inputs = [first_tile(image, spec) for image in inputs]
    return np.stack(inputs)


def overlapped(
    step: Callable[[Item], Result], items: Iterator[Item], workers: int, *, ahead: int
) -> Generator[Result]:
    """`step` of each item, in the items' order, worked out in threads while the caller is busy.

    All wait in bounded queues, so memory does not grow with the number of cases. Steps that release
    Python's lock (decoding, resampling, numpy, a runtime) really run at the same time.

    The items are drawn in the caller's thread. Steps are chained by drawing one from the other; an
    error in any of them, or a caller that stops early, ends them all.

    Args:
        workers: threads.
        ahead: how many results may be under way or wait, beside the one that is handed out.

    Raises:
        whatever `step` or `items` raise, once; results that still wait are then lost.
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="step")
    try:
        for item in items:
            waiting.append(pool.submit(step, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        if isinstance(items, Generator):
            items.close()
