"""Overlapping steps: order, bounds, and one clean end whatever goes wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluator.inference.sweep import overlapped


class TroubleError(Exception):
    pass


def counted(total: int, closed: list[str]) -> Iterator[int]:
    try:
        yield from range(total)
    finally:
        closed.append("source")


@settings(max_examples=40, deadline=None)
@given(
    delays=st.lists(st.floats(0, 0.003), max_size=12),
    workers=st.integers(1, 4),
    ahead=st.integers(1, 6),
)
def test_results_never_change_their_order(delays: list[float], workers: int, ahead: int) -> None:
    def step(item: tuple[int, float]) -> int:
        time.sleep(item[1])
        return item[0]

    found = overlapped(step, iter(enumerate(delays)), workers, ahead=ahead)
    assert list(found) == list(range(len(delays)))


def test_no_more_is_drawn_than_may_wait() -> None:
    drawn = 0

    def source() -> Iterator[int]:
        nonlocal drawn
        for item in range(100):
            drawn += 1
            yield item

    for number, _ in enumerate(overlapped(str, source(), 2, ahead=3), start=1):
        assert drawn - number <= 3


def test_the_first_result_waits_for_no_others_than_the_next() -> None:
    """With many threads on few cores, all that is under way is done at about the same time."""
    drawn, most = 0, 0

    def source() -> Iterator[int]:
        nonlocal drawn
        for item in range(100):
            drawn += 1
            yield item

    found = overlapped(str, source(), 8, ahead=8)
    next(found)
    assert drawn == 2
    for number, _ in enumerate(found, start=2):
        most = max(most, drawn - number)
    assert most == 8  # later on, all threads have work


@pytest.mark.parametrize("broken", ["source", "first", "second"])
def test_an_error_anywhere_ends_every_step_and_is_raised_once(broken: str) -> None:
    closed: list[str] = []
    calls = {"first": 0, "second": 0}

    def source() -> Iterator[int]:
        for item in counted(1000, closed):
            if broken == "source" and item == 5:
                raise TroubleError
            yield item

    def step(name: str, item: int) -> int:
        calls[name] += 1
        if broken == name and item == 5:
            raise TroubleError
        return item

    first = overlapped(lambda item: step("first", item), source(), 2, ahead=3)
    second = overlapped(lambda item: step("second", item), first, 2, ahead=3)
    found = []
    with pytest.raises(TroubleError):
        for item in second:
            found.append(item)
    assert found == list(range(len(found))) and len(found) <= 5
    assert closed == ["source"]
    assert max(calls.values()) < 20
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("step")]
    assert list(second) == []


def test_a_caller_that_stops_early_leaves_no_thread() -> None:
    closed: list[str] = []
    chain = overlapped(abs, overlapped(abs, counted(1000, closed), 2, ahead=2), 2, ahead=2)
    assert next(chain) == 0
    chain.close()
    assert closed == ["source"]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("step")]
