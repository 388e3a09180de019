"""One model over all sealed cases, in their order: decoding, network and packing overlap."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from evaluator.consistency import transform_case
from evaluator.documents.sealed import SealedCase
from evaluator.documents.submission import InputSpec, Submission
from evaluator.errors import BusbenchError, Code
from evaluator.inference.backends import Model
from evaluator.inference.batches import fill
from evaluator.inference.outputs import find_trouble
from evaluator.inference.preprocessing import to_input, to_mask
from evaluator.predictions import pack
from evaluator.sealed import decode_png

Item = TypeVar("Item")
Result = TypeVar("Result")
_OUTPUT = "Compare the model's output with `output` in submission.yaml, on images of your own."


class Prepared(NamedTuple):
    """A case on its way into the network."""

    case: SealedCase  # with the size of its plain or transformed image
    input: NDArray[np.float32]  # (C, height, width)


class Batch(NamedTuple):
    """Cases that go through the network together."""

    cases: tuple[SealedCase, ...]
    inputs: NDArray[np.float32]  # (N, C, height, width)

    @classmethod
    def of(cls, group: Sequence[Prepared]) -> Batch:
        """The cases of `group`, which are of one shape as inputs."""
        return cls(tuple(each.case for each in group), np.stack([each.input for each in group]))


Masks = list[tuple[str, bytes]]  # case id and packed mask of each case of a batch


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One model over all sealed cases, in their order, plain or transformed."""

    model: Model
    file: str  # the model's, for errors
    submission: Submission
    images: Path  # the sealed archive
    batch_size: int
    helpers: int  # threads that decode, and threads that pack
    seed: str | None = None  # of the consistency pass, which transforms every image
    fixed: bool = False  # whether all runs have `batch_size` images, as a device's do

    def prepare(self, item: tuple[SealedCase, bytes]) -> Prepared:
        """A sealed PNG as the network's input."""
        case, data = item
        image = decode_png(data, case, self.images)
        if self.seed is not None:
            case, image = transform_case(self.seed, case, image)
        return Prepared(case, to_input(image, self.submission.input))

    def maps(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Maps (N, K, height, width) of inputs (N, C, height, width), as they were declared."""
        given = fill(inputs, self.batch_size) if self.fixed else inputs
        return self.sound(self.model.run(given), given.shape)[: len(inputs)]

    def sound(self, maps: NDArray[np.float32], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """The maps of inputs of `shape`.

        Raises:
            BusbenchError: `model-failed` where they are of another shape, type or range.
        """
        trouble = find_trouble(maps, shape, self.submission.output)
        if trouble is not None:
            raise BusbenchError(
                Code.MODEL_FAILED, f"{self.file}: {trouble.without_numbers}", _OUTPUT
            )
        return maps

    def run(self, batch: Batch) -> tuple[Batch, NDArray[np.float32]]:
        """A batch with its maps."""
        return batch, self.maps(batch.inputs)

    def pack(self, result: tuple[Batch, NDArray[np.float32]]) -> Masks:
        """The masks of a batch, on their images' own grids."""
        batch, maps = result
        inputs, outputs = self.submission.input, self.submission.output
        masks = (
            to_mask(each, (case.height, case.width), inputs, outputs=outputs)
            for each, case in zip(maps, batch.cases, strict=True)
        )
        return [(case.case_id, pack(m)) for case, m in zip(batch.cases, masks, strict=True)]

    def masks(self, cases: Iterator[tuple[SealedCase, bytes]]) -> Generator[Masks]:
        """Every batch's masks; decoding, network and packing overlap."""
        helpers, flying = self.helpers, self.model.in_flight
        prepared = overlapped(self.prepare, cases, helpers, ahead=max(helpers, self.batch_size))
        results = overlapped(self.run, self._batches(prepared), flying, ahead=flying)
        return overlapped(self.pack, results, helpers, ahead=helpers)

    def _batches(self, prepared: Generator[Prepared]) -> Generator[Batch]:
        with closing(prepared):
            while group := tuple(islice(prepared, self.batch_size)):
                yield Batch.of(group)


def probe_inputs(spec: InputSpec, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Inputs (4, C, height, width): low contrast, full range, and two of `images` (H, W)."""
    draw, shape = np.random.default_rng(0), (spec.height, spec.width)
    made = [draw.integers(low, high, shape, np.uint8) for low, high in ((100, 110), (0, 256))]
    chosen = [images[number % len(images)] for number in range(2)] if images else made
    return np.stack([to_input(image, spec) for image in (*made, *chosen)])


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
