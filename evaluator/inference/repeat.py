"""Repeated cases: drawn in secret, run again alone and in other company, and timed.

A model whose noise hides on the cases that are never repeated would have another result in each
run. So which they are depends on a seed of the sealed images, on the submission, the fold and the
pass: nobody can know them, or learn them from other submissions, and the same evaluation draws the
same. A model cannot tell a repeated run from another either: it is either proven that it sees each
image by itself, or all its runs are of one image.
"""

from __future__ import annotations

import heapq
import hmac
from collections.abc import Collection, Mapping, Sequence
from itertools import cycle, islice, product
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from evaluator.documents.base import Digest
from evaluator.documents.inference import REPEATED, repeated_cases
from evaluator.documents.sealed import SealedIndex
from evaluator.errors import BusbenchError, Code
from evaluator.files import sha256_bytes
from evaluator.inference.by_shape import Several
from evaluator.inference.sweep import Inputs, LoadedModel, Placed, Predicted, Sweep
from evaluator.sealed import REMEDY, open_sealed

RUNS = 2  # of each alone; the faster one counts, for the other may have been interrupted
WARM_UP = 3  # runs of a new shape on a device, which plans in the first
_SAME = "Take out of the model what draws random numbers or depends on the order of threads."


def require_seed(index: SealedIndex, images: Path) -> str:
    """The seed of the cases that are run again; raises `bundle-invalid` where there is none."""
    if index.repeat_seed is None:
        raise BusbenchError(
            Code.BUNDLE_INVALID, f"{images} has no seed for the cases to repeat.", REMEDY
        )
    return index.repeat_seed


def draw_repeated(seed: str, sweep: str, case_ids: Collection[str]) -> frozenset[str]:
    """The cases that are run again.

    Args:
        seed: of the sealed images, 256 bits in hexadecimal.
        sweep: what is run: each has a draw of its own.
    """

    def rank(case_id: str) -> bytes:
        return hmac.digest(bytes.fromhex(seed), f"{sweep}:{case_id}".encode(), "sha256")

    return frozenset(heapq.nsmallest(repeated_cases(len(case_ids)), case_ids, key=rank))


def run_again(
    sweep: Sweep, key: Path, first: Mapping[str, Mapping[str, str]]
) -> dict[str, list[float]]:
    """Run drawn cases again: each alone and, where batches are larger, in another batch.

    Where all runs have one shape, a case runs once more, in its place and in other company;
    latency is then taken apart, of `REPEATED` cases at batch 1. An image's tiles have no company
    but each other, and run as they did.

    Args:
        first: digests of the packed masks of the first run, by their file and the case id.

    Returns:
        Seconds of the network for single images, by the same file.

    Raises:
        BusbenchError: `model-nondeterministic` where a mask comes out otherwise.
    """
    with open_sealed(sweep.images, key) as (index, cases):
        made = [
            (_InPlace if model.fixed and model.input.mode == "resized" else _Apart)(
                sweep,
                model,
                seed=seed,
                first=first[sweep.file(model, seed)],
                cases=len(index.cases),
            )
            for model in sweep.models
            for seed in sweep.seeds
        ]
        for number, case in enumerate(index.cases):
            drawn = [each for each in made if case.case_id in each.first]
            blocks = [cases.block(number, number + 1)] if drawn else []
            for block, seed in product(blocks, dict.fromkeys(each.seed for each in drawn)):
                _, (placed,), (given,) = sweep.prepare(block, seed)
                for each in drawn:
                    if each.seed == seed:
                        each.add(number, Prepared(placed, given))
        for each in made:
            each.end()
    return {sweep.file(each.model, each.seed): each.seconds for each in made}


class Prepared(NamedTuple):
    """An image as the network's input."""

    case: Placed
    input: Inputs  # (C, H, W) of its canvas


class _Apart:
    """The drawn cases of a model and a pass, run again alone and in other batches."""

    def __init__(
        self,
        sweep: Sweep,
        model: LoadedModel,
        *,
        seed: Digest | None,
        first: Mapping[str, str],
        cases: int,
    ) -> None:
        self.sweep, self.model, self.seed, self.first = sweep, model, seed, first
        self.seconds: list[float] = []
        size = 1 if model.input.is_tiled else model.batch_size
        self._size = size if model.fixed else min(size, cases)
        self._waiting: list[tuple[int, Prepared]] = []
        self._timed: list[Prepared] = []  # of a device
        # fewer first, or where all are drawn, company would be the same
        self._wanted = self._size if model.fixed else max(1, self._size // 2)

    def add(self, number: int, prepared: Prepared) -> None:
        """Take a drawn case, the one at `number` of all; run those that wait once they are many."""
        self._waiting.append((number % self.model.batch_size, prepared))
        if len(self._waiting) == self._wanted:
            self.run()
            self._wanted = self._size

    def end(self) -> None:
        """Run those that still wait."""
        if self._waiting:
            self.run()

    def run(self) -> None:
        """Run what waits; nothing waits then."""
        group = [prepared for _, prepared in self._waiting]
        self._waiting = []
        for each in group:
            if not self.seconds:
                self.model.maps([each.input])  # warms up
            runs = [self.model.timed(each.input) for _ in range(RUNS)]
            for _, maps in runs:
                self.compare([each], maps)
            self.seconds.append(min(seconds for seconds, _ in runs))
        if self._size > 1:  # filled up, since arithmetic may depend on a batch's size
            others = list(islice(cycle(group[::-1]), self._size))
            self.compare(others, self.model.maps([each.input for each in others]))

    def compare(self, cases: Sequence[Prepared], maps: Several) -> None:
        """Refuse maps (K, H, W) whose masks are not those of the first run."""
        named = [prepared.case for prepared in cases]
        for case_id, packed in self.sweep.pack(
            Predicted(self.model, self.seed, named, maps)
        ).packed:
            if sha256_bytes(packed) != self.first[case_id]:
                raise BusbenchError(
                    Code.MODEL_NONDETERMINISTIC,
                    f"{self.model.declared.file} gave another mask when it saw the same image "
                    "again.",
                    _SAME,
                )


class _InPlace(_Apart):
    """As `_Apart`, on a device, whose arithmetic may depend on an image's place in its batch."""

    def run(self) -> None:
        while self._waiting:
            placed = dict(reversed(self._waiting))  # of cases of one place, the first
            self._waiting = [(n, case) for n, case in self._waiting if placed[n] is not case]
            self._timed += list(placed.values())[: REPEATED - len(self._timed)]
            others = cycle(reversed(placed.values()))
            row = [placed.get(place) or next(others) for place in range(self._size)]
            maps = self.model.maps([each.input for each in row])
            kept = sorted(placed)
            self.compare([placed[place] for place in kept], [maps[place] for place in kept])

    def end(self) -> None:
        super().end()
        for each in self._timed[:1] * WARM_UP:
            self.model.timed(each.input)
        self.seconds = [
            min(self.model.timed(each.input)[0] for _ in range(RUNS)) for each in self._timed
        ]


def latency_ms(seconds: list[float]) -> float:
    """Milliseconds of one image: the mean, which no fast path for most of the images can hide."""
    return round(1000 * fmean(seconds), 3) if seconds else 0.0
