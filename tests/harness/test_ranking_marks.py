"""Marks of rows: which gaps are unlike the others, and what is said once for all rows."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from evaluator.documents.scores import MetricSummary
from harness.ranking.assembly import rank
from harness.ranking.board import Track
from harness.ranking.gaps import unlike_gaps
from harness.ranking.marks import GAP_UNLIKE, MARKS, own_marks, shared_marks
from tests.support.factories import make_report, make_summary, recorded

GAPS = st.lists(st.floats(0, 1), min_size=3, max_size=30)


def gaps_of(*means: float, half_width: float | None = 0.02) -> dict[int, MetricSummary]:
    return {n: make_summary(mean, half_width=half_width) for n, mean in enumerate(means)}


def track_of(*gaps: float | None, **how: str) -> Track:
    reports = [make_report("t", f"m{n}", gap=gap, **how) for n, gap in enumerate(gaps)]  # type: ignore[arg-type]
    return rank(recorded(reports))[0]


def test_a_memorised_method_is_not_passed_over() -> None:
    assert unlike_gaps(gaps_of(0.02, 0.021, 0.21, 0.019)) == {2}


def test_an_empty_mask_whose_gap_is_far_below_is_not_passed_over() -> None:
    assert unlike_gaps(gaps_of(0.1, 0.11, 0.0, 0.12)) == {2}


def test_fewer_than_three_gaps_are_never_marked() -> None:
    assert unlike_gaps({}) == unlike_gaps(gaps_of(0.2)) == unlike_gaps(gaps_of(0.0, 0.9)) == set()


def test_a_gap_without_interval_is_never_marked() -> None:
    assert unlike_gaps(gaps_of(0.0, 0.0, 0.9, half_width=None)) == set()


@given(GAPS)
def test_no_gap_whose_interval_contains_the_median_is_marked(means: list[float]) -> None:
    median = float(np.median(means))
    marked = unlike_gaps(gaps := gaps_of(*means))
    for entry, gap in gaps.items():
        assert gap.ci_low is not None and gap.ci_high is not None
        assert (entry in marked) == (median < gap.ci_low or gap.ci_high < median)


def test_an_incomplete_result_neither_moves_the_median_nor_is_marked() -> None:
    reports = [make_report("t", f"m{n}", gap=gap) for n, gap in enumerate((0.02, 0.02))]
    half = make_report("t", "half", gap=0.4, status="incomplete")
    (track,) = rank(recorded([*reports, half]))
    assert not any(row.gap_unlike for row in track.rows)


def test_what_all_rows_have_is_not_repeated_in_each() -> None:
    track = track_of(0.02, 0.021, 0.019, 0.21)
    assert [mark.label for mark in shared_marks(track)] == ["supplied", "labels public"]
    assert own_marks(track) == (GAP_UNLIKE,)
    assert not {*own_marks(track)} & {*shared_marks(track)}
    assert len({mark.label for mark in MARKS}) == len(MARKS)
