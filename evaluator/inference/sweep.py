"""Models over all sealed cases, in their order: reading, networks and packing overlap.

Each case is read and decrypted once for all models and passes, and resampled once for all models.
Threads prepare and pack a batch each, in few calls: of compiled code that works on the whole batch
and releases Python's lock. A thread that has to take the lock once an image would keep the one that
drives the device waiting for it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from math import lcm
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from evaluator.documents.base import Digest
from evaluator.documents.input_spec import InputSpec, Size
from evaluator.documents.submission import ModelFile, OutputSpec, Submission
from evaluator.errors import BusbenchError, Code
from evaluator.inference.backends import Model
from evaluator.inference.batches import fill
from evaluator.inference.by_shape import ByShape, Several
from evaluator.inference.hardware import keep_freed_memory
from evaluator.inference.outputs import background, find_trouble
from evaluator.inference.placement import place
from evaluator.inference.preprocessing import (
    to_input,
    to_inputs,
    to_packed_masks,
    to_probabilities,
    view_of,
    window_of,
)
from evaluator.inference.tiles import first_tile, map_image
from evaluator.letterbox import Placement
from evaluator.predictions import bits_file
from evaluator.sealed import Block, Cases

Item = TypeVar("Item")
Result = TypeVar("Result")
Inputs = NDArray[np.float32]
AHEAD = 8  # images, for each thread, that may be prepared or packed while others are in a network
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


class Placed(NamedTuple):
    """A case's image in a pass, plain or transformed."""

    case_id: str
    size: Size  # (H, W)
    spot: Placement  # where it lies on its canvas


class Batch(NamedTuple):
    """Images of one pass that go through the networks together."""

    seed: Digest | None  # of the pass
    cases: Sequence[Placed]
    inputs: Several  # (C, H, W) of each canvas


class _Images:
    """Some images that follow on each other, read by the first thread that asks for them."""

    def __init__(self, cases: Cases, start: int, end: int) -> None:
        self._cases, self._span = cases, (start, end)
        self._lock, self._read = threading.Lock(), list[Block]()

    def read(self) -> Block:
        """The images, once for all passes."""
        with self._lock:
            self._read = self._read or [self._cases.block(*self._span)]
            return self._read[0]


class Predicted(NamedTuple):
    """Maps of a model for some cases of a pass."""

    model: LoadedModel
    seed: Digest | None
    cases: Sequence[Placed]
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

    def prepare(self, block: Block, seed: Digest | None) -> Batch:
        """Images as the network's inputs, plain or transformed."""
        spec = self.submission.input
        windows = [window_of(*each, seed) for each in zip(block.cases, block.begins, strict=True)]
        cases = [
            Placed(
                case.case_id, (height, width), place(height, width, spec, spacing=case.spacing_mm)
            )
            for case, (_, height, width, _, _) in zip(block.cases, windows, strict=True)
        ]
        if spec.mode == "resized":
            spots = [case.spot for case in cases]
            return Batch(seed, cases, to_inputs(block.pixels, windows, spots, spec=spec))
        inputs = [
            to_input(view_of(block.pixels, window), spec, spacing=case.spacing_mm)
            for case, window in zip(block.cases, windows, strict=True)
        ]
        return Batch(seed, cases, inputs)

    def pack(self, predicted: Predicted) -> Masks:
        """The masks of some maps, on their images' own grids."""
        model, seed, cases, maps = predicted
        packed, rest = list[bytes](), iter(cases)
        for alike in [maps] if isinstance(maps, np.ndarray) else [each[None] for each in maps]:
            _, sizes, spots = zip(*islice(rest, len(alike)), strict=True)
            packed += to_packed_masks(alike, sizes, spots, spec=model.output)
        asked = self.probabilities and seed is None
        levels = [
            to_probabilities(each, case.size, case.spot, spec=model.output)
            for case, each in zip(cases, maps, strict=True)
            if asked
        ]
        named = [(case.case_id, mask) for case, mask in zip(cases, packed, strict=True)]
        return Masks(model, self.file(model, seed), named, levels)

    def masks(self, cases: Cases) -> Generator[Masks]:
        """The masks of all models, batch by batch; reading, networks and packing overlap."""
        keep_freed_memory()
        # a model's batches begin at multiples of its own size, as if it ran alone
        sizes = (model.batch_size for model in self.models)
        # an image that is cut into tiles is batches of its own
        size = 1 if self.submission.input.is_tiled else lcm(*sizes)
        helpers, flying = self.helpers, min(model.model.in_flight for model in self.models)
        ahead = min(helpers, -(-helpers * AHEAD // size))
        filled = overlapped(self._fill, self._wanted(cases, size), helpers, ahead=ahead)
        results = overlapped(self._run, filled, flying, ahead=flying)
        return overlapped(self.pack, _apart(results), helpers, ahead=ahead)

    def _wanted(self, cases: Cases, size: int) -> Iterator[tuple[_Images, Digest | None]]:
        """The images of each batch of `size`, and the passes that it goes through."""
        number = len(cases.index.cases)
        for at in range(0, number, size):
            images = _Images(cases, at, min(at + size, number))
            yield from ((images, seed) for seed in self.seeds)

    def _fill(self, wanted: tuple[_Images, Digest | None]) -> Batch:
        images, seed = wanted
        return self.prepare(images.read(), seed)

    def _run(self, batch: Batch) -> list[Predicted]:
        """A batch through every model."""
        seed, cases, inputs = batch
        return [Predicted(model, seed, cases, model.maps(inputs)) for model in self.models]


def _apart(results: Generator[list[Predicted]]) -> Generator[Predicted]:
    """The maps of each model."""
    with closing(results):
        for result in results:
            yield from result


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
        for number, item in enumerate(items):
            waiting.append(pool.submit(step, item))
            # few at first: each of many would be done when all are, and what follows would wait
            if len(waiting) > min(ahead, 1 + number // 2):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
        if isinstance(items, Generator):
            items.close()
