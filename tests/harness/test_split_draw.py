"""Holds the draw to its promises: whole groups, like proportions, the same from any order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluator.errors import BusbenchError
from harness.splits import Subject, draw, quartiles, whole_groups
from tests.support.cohort import LABELS, cohort_of, drawn

pytestmark = pytest.mark.slow

STORED = Path(__file__).with_name("stored_draw.json")


@st.composite
def cohorts(
    drawing: st.DrawFn, largest: int = 4
) -> tuple[list[Subject], tuple[tuple[str, ...], ...]]:
    """Cases in groups; a group may mix classes, as patients do."""
    sizes = drawing(st.lists(st.integers(1, largest), min_size=12, max_size=60))
    subjects, groups = [], []
    for number, size in enumerate(sizes):
        group = []
        for view in range(size):
            label = drawing(st.sampled_from(LABELS))
            area = 0 if label == "normal" else drawing(st.integers(1, 500))
            group.append(f"p{number:03d}-{view}")
            subjects.append(Subject(group[-1], label, area))  # type: ignore[arg-type]
        groups.append(tuple(group))
    return subjects, tuple(groups)


@settings(max_examples=20, deadline=None)
@given(cohort=cohorts(), seed=st.integers(0, 2**32 - 1), folds=st.integers(2, 5))
def test_no_group_is_on_two_sides(cohort: Any, seed: int, folds: int) -> None:
    subjects, groups = cohort
    places = draw(subjects, groups, folds=folds, seed=seed)
    assert places.keys() == {subject.case_id for subject in subjects}
    for group in groups:
        assert len({places[case_id] for case_id in group}) == 1


@settings(max_examples=12, deadline=None)
@given(cohort=cohorts(), chance=st.randoms(use_true_random=False))
def test_the_order_of_cases_groups_and_members_decides_nothing(cohort: Any, chance: Any) -> None:
    subjects, groups = cohort
    expected = draw(subjects, groups)
    mixed = [tuple(chance.sample(group, len(group))) for group in groups]
    chance.shuffle(mixed)
    shuffled = chance.sample(subjects, len(subjects))
    assert draw(shuffled, mixed) == expected


@settings(max_examples=20, deadline=None)
@given(cohort=cohorts(largest=2))
def test_no_part_is_off_by_more_than_the_largest_group(cohort: Any) -> None:
    subjects, groups = cohort
    places = draw(subjects, groups)
    quartile = quartiles(subjects)
    largest = max(map(len, groups))
    for trait in (lambda s: s.label, lambda s: quartile[s.case_id], lambda s: None):
        whole = Counter(trait(subject) for subject in subjects)
        test = Counter(trait(s) for s in subjects if places[s.case_id].part == "test")
        for name, number in whole.items():
            assert abs(test[name] - number / 5) <= largest


def test_another_number_of_folds_leaves_the_test_part_alone() -> None:
    subjects, groups = cohort_of(60)
    held_out = [
        {name for name, place in draw(subjects, groups, folds=folds).items() if place.fold is None}
        for folds in (2, 5, 10)
    ]
    assert held_out[0] == held_out[1] == held_out[2]


def test_another_seed_draws_another_split() -> None:
    subjects, groups = cohort_of(60)
    assert draw(subjects, groups, seed=42) != draw(subjects, groups, seed=43)


def test_a_part_or_fold_is_never_left_empty_in_silence() -> None:
    subjects, groups = cohort_of(5)
    with pytest.raises(BusbenchError, match="empty") as raised:
        draw(subjects, groups, folds=5)
    assert raised.value.code == "split-impossible"


def test_one_group_of_everything_is_refused() -> None:
    subjects, _ = cohort_of(20)
    with pytest.raises(BusbenchError) as raised:
        draw(subjects, [tuple(subject.case_id for subject in subjects)])
    assert raised.value.code == "split-impossible"


def test_equal_areas_share_a_quartile_and_no_lesion_has_none() -> None:
    areas = (0, 5, 5, 5, 5, 5, 9, 9, 20)
    subjects = [Subject(f"c{n}", "benign", area) for n, area in enumerate(areas)]
    assert list(quartiles(subjects).values()) == [0, 1, 1, 1, 1, 1, 3, 3, 4]


def test_a_case_in_two_groups_is_refused() -> None:
    with pytest.raises(ValueError, match="overlap"):
        whole_groups(["a", "b", "c"], [("a", "b"), ("b", "c")])
    with pytest.raises(ValueError, match="unknown"):
        whole_groups(["a"], [("a", "z")])


def test_the_draw_is_the_one_that_was_stored() -> None:
    """A failure here means new bytes from old input: then RULES needs a new name."""
    assert drawn() == json.loads(STORED.read_text())


@pytest.mark.parametrize("hash_seed", ["0", "1", "4242"])
def test_the_hash_seed_of_the_process_decides_nothing(hash_seed: str) -> None:
    code = "import json\nfrom tests.support.cohort import drawn\nprint(json.dumps(drawn()))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(done.stdout) == json.loads(STORED.read_text())


def test_a_draw_of_patients_has_the_classes_of_the_whole() -> None:
    cases, groups = cohort_of(100)
    places = draw(cases, groups)
    for label in LABELS:
        whole = [case.case_id for case in cases if case.label == label]
        held_out = [case_id for case_id in whole if places[case_id].part == "test"]
        assert abs(len(held_out) - len(whole) / 5) <= 1
