"""Candidates: for each image, the few that could show the same.

Every descriptor is replaced by the nearest of a few thousand words, drawn from the store itself;
images are compared by the rare words they share (Sivic and Zisserman 2003,
doi:10.1109/ICCV.2003.1238663). Text and rulers that a machine burns into all its images become
common words, and count for little.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from harness.audit.features import MIRROR, DescribedImage

WORDS = 4096
NEAREST = 10  # candidates an image, as it is and as many again mirrored
BLOCK = 256  # images whose similarities are kept in memory at a time


def candidates(
    images: Sequence[DescribedImage], sides: NDArray[np.intp] | None = None
) -> list[tuple[int, int, bool]]:
    """Pairs worth a closer look: (first, second, whether one is mirrored), first < second.

    Args:
        sides: of each image, (images,); given it, only pairs of different sides.
    """
    vocabulary = _vocabulary(images)
    if not len(vocabulary):
        return []
    straight = _words(images, vocabulary)
    mirrored = _words(images, vocabulary[:, MIRROR])  # mirroring the word mirrors the match
    rarity = np.log(len(images) / np.maximum((straight > 0).sum(axis=0), 1))
    index = _weighted(straight, rarity)
    found = {
        (min(pair), max(pair), flipped)
        for flipped, queries in ((False, index), (True, _weighted(mirrored, rarity)))
        for pair in _nearest(queries, index, sides)
    }
    return sorted(found)


def _vocabulary(images: Sequence[DescribedImage]) -> NDArray[np.float32]:
    """(words, 128): descriptors drawn evenly from all images."""
    ends = np.cumsum([0, *(len(image.descriptors) for image in images)])
    total = int(ends[-1])
    drawn = np.unique(np.linspace(0, total - 1, min(WORDS, total)).astype(np.intp))
    owner = np.searchsorted(ends, drawn, side="right") - 1
    rows = [
        images[which].descriptors[place - ends[which]]
        for which, place in zip(owner, drawn, strict=True)
    ]
    return np.array(rows, dtype=np.float32).reshape(-1, 128)


def _words(images: Sequence[DescribedImage], vocabulary: NDArray[np.float32]) -> csr_array:
    """(images, words): how often each word is in each image."""
    columns = [np.argmax(p.descriptors @ vocabulary.T, axis=1) for p in images]
    rows = np.repeat(np.arange(len(images)), [len(column) for column in columns])
    ones = np.ones(len(rows), dtype=np.float32)
    shape = (len(images), len(vocabulary))
    return csr_array((ones, (rows, np.concatenate(columns))), shape=shape)


def _weighted(counts: csr_array, rarity: NDArray[np.float64]) -> csr_array:
    """Rows of unit length; a repeated word counts less each time, a rare word more."""
    weighted = csr_array(counts.sqrt().multiply(rarity[None, :]))
    length = np.sqrt(weighted.multiply(weighted).sum(axis=1))
    return csr_array(weighted.multiply(1 / np.maximum(length, 1e-9)[:, None]))


def _nearest(
    queries: csr_array, index: csr_array, sides: NDArray[np.intp] | None
) -> Iterator[tuple[int, int]]:
    apart = np.arange(index.shape[0]) if sides is None else sides  # an image finds not itself
    keep = min(NEAREST, index.shape[0])
    for start in range(0, index.shape[0], BLOCK):
        block = (queries[start : start + BLOCK] @ index.T).toarray()
        block[apart[start : start + BLOCK, None] == apart] = -1
        best = np.argpartition(-block, keep - 1, axis=1)[:, :keep]
        for row, others in enumerate(best):
            yield from ((start + row, int(o)) for o in others if block[row, o] >= 0)
