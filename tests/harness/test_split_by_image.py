"""The Awesome-BUS benchmark's rule agrees with scikit-learn, which it was drawn with."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedKFold, train_test_split

from evaluator.errors import BusbenchError
from harness.splits import Subject, draw
from harness.splits.by_image import stratified

LABELS = ("benign", "malignant", "normal")
BUSI = ("benign",) * 437 + ("malignant",) * 210 + ("normal",) * 133


def oracle(labels: list[str], test_fraction: float, folds: int, seed: int) -> list[int | None]:
    training, _ = train_test_split(
        range(len(labels)), test_size=test_fraction, stratify=labels, random_state=seed
    )
    places: list[int | None] = [None] * len(labels)
    kfold = StratifiedKFold(n_splits=folds, shuffle=True, random_state=seed)
    for fold, (_, members) in enumerate(kfold.split(training, [labels[i] for i in training])):
        for member in members:
            places[training[member]] = fold
    return places


@settings(max_examples=150, deadline=None)
@given(
    counts=st.lists(st.integers(13, 60), min_size=1, max_size=3),
    seed=st.integers(0, 2**32 - 1),
    test_fraction=st.sampled_from([0.1, 0.2, 0.25, 0.5]),
    folds=st.integers(2, 6),
    chance=st.randoms(use_true_random=False),
)
def test_the_draw_is_scikit_learn_s(
    counts: list[int], seed: int, test_fraction: float, folds: int, chance: object
) -> None:
    labels = [label for label, count in zip(LABELS, counts, strict=False) for _ in range(count)]
    chance.shuffle(labels)  # type: ignore[attr-defined]
    assert stratified(labels, test_fraction, folds, seed=seed) == oracle(
        labels, test_fraction, folds, seed
    )


@pytest.mark.parametrize("tied", [[20, 20, 20], [11, 11], [33, 33, 34], [7, 7, 7]])
def test_ties_between_classes_fall_as_in_scikit_learn(tied: list[int]) -> None:
    labels = [label for label, count in zip(LABELS, tied, strict=False) for _ in range(count)]
    for seed in range(20):
        assert stratified(labels, 0.2, 3, seed=seed) == oracle(labels, 0.2, 3, seed)


def test_the_draw_is_the_one_that_was_stored() -> None:
    """The full BUSI release's classes; no library may draw them another way."""
    drawn = stratified(BUSI, 0.2, 5, seed=42)
    digest = hashlib.sha256(repr(drawn).encode()).hexdigest()
    assert drawn.count(None) == 156
    assert digest == "bfb4f9ad55039242f96467d47fc0b5d22e9bb1696292c5cd2df8c9908bb6dcd7"


def test_the_listing_of_the_release_decides_and_no_other_order() -> None:
    subjects = [
        Subject(f"h{(n * 37) % 100:02d}", LABELS[n % 3], n, f"folder/{n:03d}.png")  # type: ignore[arg-type]
        for n in range(100)
    ]
    places = draw(subjects, [], policy="image")
    drawn = stratified([subject.label for subject in subjects], 0.2, 5, seed=42)
    assert [places[subject.case_id].fold for subject in subjects] == drawn
    assert draw(subjects[::-1], [], policy="image") == places
    parts = Counter(place.part for place in places.values())
    assert parts == {"test": 20, "train": 80}


def test_a_class_of_one_is_refused() -> None:
    subjects = [Subject(f"c{n}", "normal" if n == 0 else "benign", 1, str(n)) for n in range(30)]
    with pytest.raises(BusbenchError, match="too small") as raised:
        draw(subjects, [], policy="image")
    assert raised.value.code == "split-impossible"
