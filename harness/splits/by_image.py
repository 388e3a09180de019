"""The Awesome-BUS benchmark's held-out images: its rule, by image, reproduced to the last bit.

The rule is scikit-learn's `train_test_split` stratified by class, then its shuffled
`StratifiedKFold` over what that leaves, both from one seed. It is drawn here in its own right, on
numpy's `RandomState`, whose streams are frozen for good (NEP 19), and agrees with scikit-learn 1.9.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def stratified(
    labels: Sequence[str], test_fraction: float, folds: int, *, seed: int
) -> list[int | None]:
    """The fold of every image, None where it is held out.

    Args:
        labels: the class of each image; their order matters, as it did in that benchmark.

    Raises:
        ValueError: a class has one image only, or the test part is too small for every class.
    """
    places: list[int | None] = [None] * len(labels)
    classes = np.unique(np.asarray(labels), return_inverse=True)[1].astype(np.int64)
    training = _training(classes, test_fraction, RandomState(seed))
    for index, fold in zip(
        training, _folds(classes[training], folds, RandomState(seed)), strict=True
    ):
        places[index] = int(fold)
    return places


def _training(classes: Integers, test_fraction: float, random: RandomState) -> Integers:
    """The images to train on, in the order of the draw, which the folds depend on."""
    counts = np.bincount(classes).astype(np.int64)
    held_out = math.ceil(test_fraction * len(classes))
    if counts.min() < 2 or min(held_out, len(classes) - held_out) < len(counts):
        raise ValueError("a class is too small to be in both parts")
    kept = _shares(counts, len(classes) - held_out, random)
    # What is tested is what is left, but dealing it out may take from the stream of chance.
    _shares(counts - kept, held_out, random)
    chosen = [
        np.flatnonzero(classes == label)[random.permutation(count)][: kept[label]]
        for label, count in enumerate(counts)
    ]
    return random.permutation(np.concatenate(chosen))


def _shares(counts: Integers, total: int, random: RandomState) -> Integers:
    """How many of each class make up `total` in proportion; ties of remainders go by chance."""
    exact = counts / counts.sum() * total
    shares = np.floor(exact)
    remainders = exact - shares
    missing = int(total - shares.sum())
    for remainder in np.unique(remainders)[::-1]:
        if missing <= 0:
            break
        tied = np.flatnonzero(remainders == remainder)
        chosen = random.choice(tied, size=min(len(tied), missing), replace=False)
        shares[chosen] += 1
        missing -= len(chosen)
    whole: Integers = shares.astype(np.int64)
    return whole


def _folds(classes: Integers, folds: int, random: RandomState) -> Integers:
    """The fold of each training image: the classes dealt round in turn, then shuffled within."""
    _, first, code = np.unique(classes, return_index=True, return_inverse=True)
    appearance = np.argsort(np.argsort(first))[code.reshape(-1)]  # classes by first appearance
    dealt = np.sort(appearance)
    places = np.empty(len(classes), dtype=np.int64)
    for label in range(len(first)):
        sizes = [int((dealt[fold::folds] == label).sum()) for fold in range(folds)]
        own = np.repeat(np.arange(folds), sizes)
        random.shuffle(own)
        places[appearance == label] = own
    return places
