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
import time
from collections.abc import Collection, Iterator, Mapping
from itertools import chain, cycle, islice, repeat
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from evaluator.documents.inference import repeated_cases
from evaluator.documents.sealed import SealedIndex
from evaluator.errors import BusbenchError, Code
from evaluator.files import sha256_bytes
from evaluator.inference.sweep import Batch, Prepared, Sweep
from evaluator.sealed import REMEDY, open_sealed

RUNS = 2  # of each alone; the faster one counts, for the other may have been interrupted
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


def run_again(sweep: Sweep, key: Path, first: Mapping[str, str]) -> list[float]:
    """Run drawn cases again: each alone and, where batches are larger, in another batch.

    Args:
        first: case id -> digest of the packed mask of the first run.

    Returns:
        Seconds of the network for each case, alone.

    Raises:
        BusbenchError: `model-nondeterministic` where a mask comes out otherwise.
    """
    seconds: list[float] = []
    with open_sealed(sweep.images, key) as (index, cases):
        size = min(sweep.batch_size, len(index.cases))
        drawn = (sweep.prepare(item) for item in cases if item[0].case_id in first)
        for group in _groups(drawn, size):
            for each in group:
                if not seconds:
                    sweep.maps(each.input[None])  # warms up
                seconds.append(min(_alone(sweep, each, first) for _ in range(RUNS)))
            if size > 1:  # filled up, since arithmetic may depend on a batch's size
                others = list(islice(cycle(group[::-1]), size))
                _require_same(sweep, sweep.run(Batch.of(others)), first)
    return seconds


def _groups(drawn: Iterator[Prepared], size: int) -> Iterator[list[Prepared]]:
    """Groups of `size`; a smaller one first, or where all are drawn, company would be the same."""
    for count in chain([max(1, size // 2)], repeat(size)):
        group = list(islice(drawn, count))
        if not group:
            return
        yield group


def _alone(sweep: Sweep, case: Prepared, first: Mapping[str, str]) -> float:
    """Seconds that the network takes for one image."""
    batch = Batch.of([case])
    start = time.perf_counter()
    maps = sweep.model.run(batch.inputs)
    seconds = time.perf_counter() - start
    _require_same(sweep, (batch, sweep.sound(maps, batch.inputs.shape)), first)
    return seconds


def _require_same(
    sweep: Sweep, result: tuple[Batch, NDArray[np.float32]], first: Mapping[str, str]
) -> None:
    for case_id, packed in sweep.pack(result):
        if sha256_bytes(packed) != first[case_id]:
            raise BusbenchError(
                Code.MODEL_NONDETERMINISTIC,
                f"{sweep.file} gave another mask when it saw the same image again.",
                _SAME,
            )


def latency_ms(seconds: list[float]) -> float:
    """Milliseconds of one image: the mean, which no fast path for most of the images can hide."""
    return round(1000 * fmean(seconds), 3) if seconds else 0.0
