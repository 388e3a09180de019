"""Counts by class and by lesion size, which show whether every part looks like the whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.splits.drawing import Assignment, Subject, quartiles

Counts = dict[str, dict[str, int]]  # part -> class or quartile -> cases
SIZES = ("none", "Q1", "Q2", "Q3", "Q4")


def tally(subjects: Sequence[Subject], places: Mapping[str, Assignment]) -> tuple[Counts, Counts]:
    """(by class, by lesion-area quartile) of the whole, of each part and of each fold.

    Quartiles are those of the whole. Every part names the same classes and quartiles, so that a
    zero is seen.
    """
    quartile = quartiles(subjects)
    folds = {place.fold for place in places.values() if place.fold is not None}
    final = ("final",) if any(place.part == "final" for place in places.values()) else ()
    parts = ("all", "train", "test", *final, *(f"fold-{fold}" for fold in sorted(folds)))
    labels = sorted({subject.label for subject in subjects})
    classes: Counts = {part: dict.fromkeys(labels, 0) for part in parts}
    names = [SIZES[number] for number in sorted(set(quartile.values()))]
    sizes: Counts = {part: dict.fromkeys(names, 0) for part in parts}
    for subject in subjects:
        place = places[subject.case_id]
        for part in ("all", place.part, *(() if place.fold is None else (f"fold-{place.fold}",))):
            classes[part][subject.label] += 1
            sizes[part][SIZES[quartile[subject.case_id]]] += 1
    return classes, sizes


def deviations(counts: Counts) -> dict[str, dict[str, float]]:
    """By how many percentage points each share of a part differs from that of the whole."""
    whole = _shares(counts["all"])
    return {
        part: {name: 100 * (share - whole[name]) for name, share in _shares(counts[part]).items()}
        for part in counts
    }


def _shares(counted: Mapping[str, int]) -> dict[str, float]:
    total = sum(counted.values())
    return {name: number / total for name, number in counted.items()}
