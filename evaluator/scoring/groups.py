"""Groups of test cases that are scored together: all, by class, by lesion size, by scanner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evaluator.documents.sealed import SealedCase
from evaluator.scoring.intervals import MIN_PATIENTS

CLASSES: Mapping[str, tuple[str, ...]] = {
    "all": ("benign", "malignant", "normal"),
    "lesion": ("benign", "malignant"),
    "normal": ("normal",),
    "benign": ("benign",),
    "malignant": ("malignant",),
}
SIZES = ("Q1", "Q2", "Q3", "Q4")  # quarters of lesion area, from small to large


def groups_of(cases: Sequence[SealedCase], areas: Mapping[str, int]) -> dict[str, list[int]]:
    """The groups that have cases, by name, each with its cases' places in `cases`.

    The quarters of lesion area are over these cases. A scanner is a group, `device <name>`, and so
    is a grade, `birads <grade>`, where there are several, and it has patients enough: the mean of a
    few would disclose single cases, which stay with the organiser.

    Args:
        areas: case id -> pixels of its lesion.
    """
    quartile = size_quartiles(areas)
    inside = {
        **{name: [case.label in classes for case in cases] for name, classes in CLASSES.items()},
        **{
            name: [quartile[case.case_id] == number for case in cases]
            for number, name in enumerate(SIZES, start=1)
        },
        **{
            f"{kind} {name}": [getattr(case, kind) == name for case in cases]
            for kind in ("device", "birads")
            for name in _named(cases, kind)
        },
    }
    places = {name: [n for n, is_in in enumerate(flags) if is_in] for name, flags in inside.items()}
    return {name: found for name, found in places.items() if found}


def _named(cases: Sequence[SealedCase], kind: str) -> list[str]:
    """The scanners or grades with patients enough, where there are several."""
    patients: dict[str, set[str]] = {}
    for case in cases:
        if name := getattr(case, kind):
            patients.setdefault(name, set()).add(patient_of(case))
    large = sorted(name for name, found in patients.items() if len(found) >= MIN_PATIENTS)
    return large if len(patients) > 1 else []


def patient_of(case: SealedCase) -> str:
    """The patient of a case; where none is known, each case is one of its own."""
    return case.patient_group or case.case_id


def size_quartiles(areas: Mapping[str, int]) -> dict[str, int]:
    """Quartile of each case's lesion area, 1 to 4 over all cases with a lesion; 0 without one.

    Cases of equal area share a quartile: that of the first of them.

    Args:
        areas: case id -> pixels of its lesion.
    """
    ordered = sorted(area for area in areas.values() if area)
    first = {area: rank for rank, area in reversed(list(enumerate(ordered)))}
    return {
        case_id: 1 + 4 * first[area] // len(ordered) if area else 0
        for case_id, area in areas.items()
    }
