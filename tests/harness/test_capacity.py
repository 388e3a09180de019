"""The simulation behind docs/scale.md, against what queueing theory and plain counting say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.studies.capacity import Load, arrivals, simulate

LOAD = Load(a_day=20_000, days=3, slots=1, job_seconds=3.0, spread=0.0, day_and_night=0.0)


def test_the_wait_is_that_of_a_queue_with_chance_arrivals_and_even_jobs() -> None:
    busy = LOAD.a_day * LOAD.job_seconds / 86400
    found = simulate(replace(LOAD, days=10))
    expected = busy * LOAD.job_seconds / (2 * (1 - busy))  # Pollaczek and Khinchine, M/D/1
    assert found.busy == pytest.approx(busy, rel=0.01)
    assert found.mean_wait == pytest.approx(expected, rel=0.05)


def test_nothing_that_arrives_is_lost_and_night_is_quieter_than_day() -> None:
    load = replace(LOAD, day_and_night=0.8)
    times = list(arrivals(load))
    assert len(times) == pytest.approx(load.a_day * load.days, rel=0.02)
    by_night = sum(time % 86400 < 21600 or time % 86400 > 64800 for time in times)
    assert by_night < 0.35 * len(times)


def test_a_batch_ends_when_its_jobs_one_after_another_on_each_slot_do() -> None:
    load = replace(LOAD, slots=2, append_seconds=0.5)
    found = simulate(load, times=[0.0] * 6)
    assert found.finished == pytest.approx(3 * 3.0 + 2 * 0.5)
    assert found.submissions == 6


def test_a_ledger_that_is_verified_at_each_append_ends_up_behind() -> None:
    quick = simulate(replace(LOAD, append_seconds=0.01))
    slow = simulate(replace(LOAD, append_seconds=0.01, append_seconds_an_entry=0.001))
    assert quick.record_wait < 0.1
    assert slow.record_wait > 60
