"""Durations of scoring jobs, which everybody can see, give next to nothing away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ci import duration, score_pr
from ci.duration import missing, padded

QUANTUM = 600.0


class Clock:
    """A clock that only sleeping and working move."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds


@given(st.floats(0, 1e6), st.sampled_from([1.0, 60.0, QUANTUM, 4320.0]))
def test_no_duration_ends_between_two_multiples(elapsed: float, quantum: float) -> None:
    whole = (elapsed + missing(elapsed, quantum)) / quantum
    assert whole == pytest.approx(round(whole), abs=1e-6)
    assert 0 <= missing(elapsed, quantum) <= quantum


@pytest.mark.parametrize("works", [0.1, 3.0, 37.0, 599.9])
@pytest.mark.parametrize("fails", [False, True])
def test_no_success_or_failure_shows_in_a_duration(works: float, fails: bool) -> None:
    clock = Clock()
    try:
        with padded(QUANTUM, clock=clock, sleep=clock.sleep):
            clock.now += works
            if fails:
                raise RuntimeError
    except RuntimeError:
        assert fails
    assert clock.now == pytest.approx(QUANTUM)


def test_no_scoring_job_ends_before_its_minutes_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused at once, for want of a repository, it waits all the same, and speaks afterwards."""
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        assert not any(capsys.readouterr())

    original: Any = duration.padded
    monkeypatch.setattr(score_pr, "padded", lambda quantum: original(quantum, sleep=sleep))
    words = ["--state", str(tmp_path), "--runner", "process", "--base", "main", "--head", "a" * 40]
    words += ["--reference", "refs/pull/1/head", "--author", "alice", "--out", str(tmp_path)]
    assert score_pr.main(["--repository", str(tmp_path), *words]) != 0
    assert len(slept) == 1 and 500 < slept[0] <= QUANTUM
    assert "error" in capsys.readouterr().err
