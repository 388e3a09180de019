"""One model over all sealed cases, in their order: decoding, network and packing overlap."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evaluator.backends import Model
from evaluator.consistency import move_case
from evaluator.contract import SealedCase, Submission
from evaluator.errors import BusbenchError, Code
from evaluator.outputs import find_trouble
from evaluator.pipeline import overlapped
from evaluator.predictions import pack
from evaluator.preprocessing import to_input, to_mask
from evaluator.sealed import decode_png

_OUTPUT = "Compare the model's output with `output` in submission.yaml, on images of your own."
_SAME = "Take out of the model what draws random numbers or depends on the order of threads."


class Prepared(NamedTuple):
    """A case on its way into the network."""

    case: SealedCase  # of the image's size, moved or not
    input: NDArray[np.float32]  # (C, height, width)


class Batch(NamedTuple):
    """Cases that go through the network together."""

    number: int
    cases: tuple[SealedCase, ...]
    inputs: NDArray[np.float32]  # (N, C, height, width)


class Masks(NamedTuple):
    """What came of a batch."""

    batch: Batch
    packed: tuple[bytes, ...]  # one a case


@dataclass(frozen=True)
class Sweep:
    """One model over all sealed cases, in their order, as they are or moved."""

    model: Model
    file: str  # the model's, for errors
    submission: Submission
    images: Path  # the sealed archive
    batch_size: int
    helpers: int  # threads that decode, and threads that pack
    seed: str | None = None  # of the consistency pass, which moves every image

    def prepare(self, item: tuple[SealedCase, bytes]) -> Prepared:
        """A sealed PNG as the network's input."""
        case, data = item
        image = decode_png(data, case, self.images)
        if self.seed is not None:
            case, image = move_case(self.seed, case, image)
        return Prepared(case, to_input(image, self.submission.input))

    def run(self, batch: Batch) -> tuple[Batch, NDArray[np.float32]]:
        """The batch's maps (N, K, height, width), held to what was declared."""
        maps = self.model.run(batch.inputs)
        trouble = find_trouble(maps, batch.inputs.shape, self.submission.output)
        if trouble is not None:
            raise BusbenchError(Code.MODEL_FAILED, f"{self.file}: {trouble.detail}", _OUTPUT)
        return batch, maps

    def pack(self, result: tuple[Batch, NDArray[np.float32]]) -> Masks:
        """The masks of a batch, on their images' own grids."""
        batch, maps = result
        inputs, outputs = self.submission.input, self.submission.output
        masks = (
            to_mask(each, (case.height, case.width), inputs, outputs)
            for each, case in zip(maps, batch.cases, strict=True)
        )
        return Masks(batch, tuple(pack(mask) for mask in masks))

    def masks(self, cases: Iterator[tuple[SealedCase, bytes]]) -> Generator[Masks]:
        """Every batch's masks; decoding, network and packing overlap."""
        helpers, flying = self.helpers, self.model.in_flight
        prepared = overlapped(self.prepare, cases, helpers, ahead=max(helpers, self.batch_size))
        maps = overlapped(self.run, self._batches(prepared), flying, ahead=flying)
        return overlapped(self.pack, maps, helpers, ahead=helpers)

    def _batches(self, prepared: Generator[Prepared]) -> Generator[Batch]:
        with closing(prepared):
            number = 0
            while group := tuple(islice(prepared, self.batch_size)):
                cases = tuple(each.case for each in group)
                yield Batch(number, cases, np.stack([each.input for each in group]))
                number += 1

    def repeat(self, first: Masks) -> None:
        """Run a batch a second time.

        Raises:
            BusbenchError: `model-nondeterministic` where a mask comes out otherwise.
        """
        if self.pack(self.run(first.batch)).packed != first.packed:
            raise BusbenchError(
                Code.MODEL_NONDETERMINISTIC,
                f"{self.file} gave another mask when it saw the same images a second time.",
                _SAME,
            )
