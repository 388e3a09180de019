"""Models over all sealed cases, in their order: reading, networks and packing overlap.

Each case is read, decrypted and resampled once for all models and both passes. Threads share the
work in small parts of a batch; what takes time in them releases Python's lock.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice, repeat
from math import lcm
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from evaluator.consistency import transform_case
from evaluator.documents.base import Digest
from evaluator.documents.sealed import SealedCase
from evaluator.documents.submission import InputSpec, ModelFile, OutputSpec, Submission
from evaluator.errors import BusbenchError, Code
from evaluator.inference.backends import Model
from evaluator.inference.batches import fill
from evaluator.inference.outputs import background, find_trouble
from evaluator.inference.preprocessing import to_input, to_packed_mask
from evaluator.inference.tiles import first_tile, map_image
from evaluator.predictions import bits_file
from evaluator.sealed import decode_image

Item = TypeVar("Item")
Result = TypeVar("Result")
Inputs = NDArray[np.float32]
Sealed = tuple[SealedCase, bytes]
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

    def maps(self, inputs: Inputs) -> NDArray[np.float32]:
        """Maps (N, K, H, W) of the inputs (N, C, H, W) of whole images."""
        if not self.input.is_tiled:
            return self.run(inputs)
        outside, size = background(self.output.kind), self.batch_size
        return np.stack(
            [map_image(each, self.input, self.run, outside=outside, size=size) for each in inputs]
        )

    def timed(self, image: Inputs) -> tuple[float, NDArray[np.float32]]:
        """Seconds that an input (C, H, W) takes alone, and its maps (1, K, H, W)."""
        start = time.perf_counter()
        if self.input.is_tiled:
            maps = self.maps(image[None])
            return time.perf_counter() - start, maps
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
    input: NDArray[np.float32]  # (C, height, width), or larger where it is yet to be cut into tiles


class _Part(NamedTuple):
    """Sealed cases that are to be prepared, and their places in the inputs of a batch."""

    seed: Digest | None
    cases: Sequence[Sealed]
    inputs: Inputs | None  # (N, C, height, width) of the whole batch; None: of an image's own size
    start: int
    total: int  # cases of the whole batch


class Batch(NamedTuple):
    """Cases of one pass that go through the networks together."""

    seed: Digest | None  # of the pass
    cases: tuple[SealedCase, ...]
    inputs: Inputs  # (N, C, height, width)


class Predicted(NamedTuple):
    """Maps (N, K, height, width) of a model for some cases of a pass."""

    model: LoadedModel
    seed: Digest | None
    cases: Sequence[SealedCase]
    maps: NDArray[np.float32]


class Masks(NamedTuple):
    """The packed masks of a model for some cases of a pass."""

    model: LoadedModel
    seed: Digest | None
    packed: Sequence[tuple[str, bytes]]  # by case id

    @property
    def file(self) -> str:
        """The file that they belong to."""
        return masks_file(self.model, self.seed)


def masks_file(model: LoadedModel, seed: Digest | None) -> str:
    """The file of the masks of a model in a pass."""
    return bits_file(model.declared.fold, transformed=seed is not None)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Models over all sealed cases, in their order, in every pass."""

    models: tuple[LoadedModel, ...]
    submission: Submission
    images: Path  # the sealed archive
    helpers: int  # threads that prepare, and threads that pack
    seeds: tuple[Digest | None, ...] = (None,)  # of each pass: None for the plain images

    def prepare(
        self, item: Sealed, seed: Digest | None, out: NDArray[np.float32] | None = None
    ) -> Prepared:
        """A sealed image as the network's input, plain or transformed.

        Args:
            out: where the input (C, height, width) goes; None: to memory of its own.
        """
        case, data = item
        image = decode_image(data, case, self.images)
        if seed is not None:
            case, image = transform_case(seed, case, image)
        return Prepared(case, to_input(image, self.submission.input, out))

    def pack(self, predicted: Predicted) -> Masks:
        """The masks of some maps, on their images' own grids."""
        model, seed, cases, maps = predicted
        inputs = self.submission.input
        packed = [
            (
                case.case_id,
                to_packed_mask(each, (case.height, case.width), inputs, outputs=model.output),
            )
            for case, each in zip(cases, maps, strict=True)
        ]
        return Masks(model, seed, packed)

    def masks(self, cases: Iterator[Sealed]) -> Generator[Masks]:
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

    def _parts(self, cases: Iterator[Sealed], size: int) -> Iterator[_Part]:
        """The cases in batches of `size`, one a pass, each in parts."""
        spec = self.submission.input
        while group := tuple(islice(cases, size)):
            for seed in self.seeds:
                shape = (len(group), spec.depth, spec.height, spec.width)
                inputs = None if spec.is_tiled else np.empty(shape, np.float32)
                for start in range(0, len(group), PART):
                    yield _Part(seed, group[start : start + PART], inputs, start, len(group))

    def _fill(self, part: _Part) -> tuple[_Part, list[Prepared]]:
        """Write a part's inputs; its cases with the sizes that they have in this pass."""
        places = repeat(None) if part.inputs is None else part.inputs[part.start :]
        return part, [
            self.prepare(item, part.seed, out)
            for item, out in zip(part.cases, places, strict=False)
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
                inputs = some[0].input[None] if part.inputs is None else part.inputs
                yield Batch(part.seed, tuple(each.case for each in done), inputs)
                done = []


def _apart(results: Generator[list[Predicted]]) -> Generator[Predicted]:
    """The maps of each model, in parts that threads can share."""
    with closing(results):
        for result in results:
            for model, seed, cases, maps in result:
                for start in range(0, len(cases), PART):
                    some = slice(start, start + PART)
                    yield Predicted(model, seed, cases[some], maps[some])


def probe_inputs(spec: InputSpec, images: Sequence[NDArray[np.uint8]]) -> Inputs:
    """Inputs (4, C, height, width): low contrast, full range, and two of `images` (H, W).

    Of an image that is cut into tiles it is the first.
    """
    draw, shape = np.random.default_rng(0), (spec.height, spec.width)
    made = [draw.integers(low, high, shape, np.uint8) for low, high in ((100, 110), (0, 256))]
    chosen = [images[number % len(images)] for number in range(2)] if images else made
    inputs = [to_input(image, spec) for image in (*made, *chosen)]
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
