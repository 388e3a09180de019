"""Certain pairs: cases of one patient, and cases with the very same pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import combinations

from harness.audit.report import Pair
from harness.store import Case


def same_patient(cases: Iterable[Case]) -> list[Pair]:
    """Every two cases of one patient; cases without a patient are in none.

    Two lesions of one patient may well be of two classes: that is no conflict.
    """
    twins = _pairs_by(cases, lambda case: case.patient)
    return [Pair(first.case_id, second.case_id, "same-patient", 0.0) for first, second in twins]


def identical(cases: Iterable[Case]) -> list[Pair]:
    """Every two cases whose images agree in size and in every pixel."""
    twins = _pairs_by(cases, lambda case: case.image_sha256)
    return [
        Pair(
            first.case_id,
            second.case_id,
            "identical",
            1.0,
            conflict=conflicts(first, second, first.mask_sha256 != second.mask_sha256),
        )
        for first, second in twins
    ]


def conflicts(first: Case, second: Case, masks_differ: bool) -> str:
    """What two descriptions of one image contradict each other in, joined by ", "."""
    patients = (first.patient, second.patient)
    differs = {
        "class": first.label != second.label,
        "mask": masks_differ,
        "patient": None not in patients and first.patient != second.patient,
    }
    return ", ".join(name for name, wrong in differs.items() if wrong)


def _pairs_by(
    cases: Iterable[Case], key: Callable[[Case], str | None]
) -> Iterator[tuple[Case, Case]]:
    shelves: dict[str, list[Case]] = {}
    for case in sorted(cases, key=lambda case: case.case_id):
        value = key(case)
        if value is not None:
            shelves.setdefault(value, []).append(case)
    for shelf in shelves.values():
        yield from combinations(shelf, 2)
