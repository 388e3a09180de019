"""A fixed cohort by arithmetic alone, and how it is drawn."""

from __future__ import annotations

from harness.splits import Subject, draw

LABELS = ("benign", "malignant", "normal")


def cohort_of(patients: int) -> tuple[list[Subject], tuple[tuple[str, ...], ...]]:
    """A fixed cohort by arithmetic alone, for what is stored beside this test."""
    subjects, groups = [], []
    for number in range(patients):
        label = LABELS[(number * 7) % 10 % 3]
        group = tuple(f"p{number:03d}-{view}" for view in range(1 + number * 3 % 4))
        groups.append(group)
        for view, case_id in enumerate(group):
            area = 0 if label == "normal" else 100 + (number * 37 + view * 11) % 400
            subjects.append(Subject(case_id, label, area))  # type: ignore[arg-type]
    return subjects, tuple(groups)


def drawn(patients: int = 80) -> dict[str, str]:
    places = draw(*cohort_of(patients))
    return {case_id: f"{place.part} {place.fold}" for case_id, place in sorted(places.items())}
