"""Every entry says when it was recorded; the time is signed and never runs backwards."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evaluator.errors import BusbenchError
from harness.cli import app
from harness.ledger import (
    Ranking,
    Retraction,
    append,
    require_writable,
    rotate,
    sign,
    verify_bytes,
    verify_ledger,
)
from harness.ledger.chain import utc_now
from harness.ledger.entries import Position, entry_line, genesis_line
from harness.sealing.keys import Keys
from harness.website import publish
from tests.support.factories import TIME, make_report

LATER, LATEST = "2026-11-01T12:00:01Z", "2027-01-01T00:00:00Z"


def at(instant: str) -> Callable[[], str]:
    return lambda: instant


def test_an_entry_of_each_kind_says_when_it_was_recorded(
    keys: Keys, other_keys: Keys, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    report = append(ledger, sign(make_report(), keys), keys, clock=at(TIME)).entry
    append(ledger, Retraction(entry=report.digest, reason="A wrong split."), keys, clock=at(LATER))
    append(ledger, Ranking(body={}), keys, clock=at(LATER))
    rotate(ledger, keys, other_keys, clock=at(LATEST))
    verdict = verify_ledger(ledger)
    assert [entry.time for entry in verdict.walk()] == [TIME, LATER, LATER, LATEST]
    assert verdict.time == LATEST


def test_without_a_clock_of_its_own_an_entry_has_the_time_of_now(
    keys: Keys, tmp_path: Path
) -> None:
    before = utc_now()
    entry = append(tmp_path / "ledger.jsonl", sign(make_report(), keys), keys).entry
    assert before <= entry.time <= utc_now()


def test_the_same_report_on_another_day_counts_once_with_its_first_time(
    keys: Keys, tmp_path: Path
) -> None:
    ledger, signed = tmp_path / "ledger.jsonl", sign(make_report(), keys)
    first = append(ledger, signed, keys, clock=at(TIME))
    again = append(ledger, signed, keys, clock=at(LATEST))
    assert (again.new, again.entry) == (False, first.entry)
    retraction = Retraction(entry=first.entry.digest, reason="A wrong split.")
    assert [append(ledger, retraction, keys, clock=at(t)).new for t in (LATER, LATEST)] == [
        True,
        False,
    ]
    assert [entry.time for entry in verify_ledger(ledger).walk()] == [TIME, LATER]


def test_a_clock_that_was_set_back_loses_no_result_and_says_so(
    keys: Keys, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    append(ledger, sign(make_report(method="first"), keys), keys, clock=at(LATER))
    with caplog.at_level(logging.WARNING):
        entry = append(ledger, sign(make_report(method="second"), keys), keys, clock=at(TIME)).entry
    assert entry.time == LATER
    assert "clock" in caplog.text
    assert len(verify_ledger(ledger).reports) == 2


def test_an_entry_signed_for_a_time_before_the_last_is_refused(keys: Keys) -> None:
    data = genesis_line(LATER, keys)
    head = verify_bytes(data, "built").head
    line = entry_line(Ranking(body={}), Position(1, head, TIME), keys)
    with pytest.raises(BusbenchError, match="before the entry before it"):
        verify_bytes(data + line, "ledger.jsonl")


FUTURES = ("2026-11-01T12:05:02Z", "2027-11-01T00:00:00Z", "2099-01-01T00:00:00Z")


@pytest.mark.parametrize("future", FUTURES)
def test_no_entry_follows_one_from_the_future(
    keys: Keys, other_keys: Keys, tmp_path: Path, future: str
) -> None:
    """One entry by a wrong clock must not date all that follow."""
    ledger = tmp_path / "ledger.jsonl"
    first = append(ledger, sign(make_report(), keys), keys, clock=at(future)).entry
    before = ledger.read_bytes()
    attempts: tuple[Callable[[], object], ...] = (
        lambda: append(ledger, sign(make_report(method="b"), keys), keys, clock=at(TIME)),
        lambda: append(ledger, Ranking(body={}), keys, clock=at(TIME)),
        lambda: append(ledger, Retraction(entry=first.digest, reason="x"), keys, clock=at(TIME)),
        lambda: rotate(ledger, keys, other_keys, clock=at(TIME)),
        lambda: require_writable(ledger, keys, clock=at(TIME)),
    )
    for attempt in attempts:
        with pytest.raises(BusbenchError, match=future) as caught:
            attempt()
        assert caught.value.code == "ledger-invalid" and "clock" in caught.value.remedy
    assert ledger.read_bytes() == before
    again = append(ledger, sign(make_report(), keys), keys, clock=at(TIME))
    assert not again.new  # what is there already is still found


def test_no_honest_clock_is_taken_for_a_wrong_one(keys: Keys, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    append(ledger, sign(make_report(), keys), keys, clock=at("2026-11-01T12:05:00Z"))
    append(ledger, Ranking(body={}), keys, clock=at(TIME))  # two machines, five minutes apart
    require_writable(ledger, keys, clock=at(TIME))
    require_writable(tmp_path / "none.jsonl", keys)


def test_no_time_to_come_is_published_or_verified_unsaid(keys: Keys, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    append(ledger, sign(make_report(), keys), keys, clock=at("2999-01-01T00:00:00Z"))
    with pytest.raises(BusbenchError, match="2999") as caught:
        publish(ledger, tmp_path / "site")
    assert caught.value.code == "ledger-invalid" and not (tmp_path / "site").exists()
    done = CliRunner().invoke(app, ["verify", str(ledger)])
    assert done.exit_code == 20 and "2999-01-01" in done.output and "clock" in done.output


@pytest.mark.parametrize(
    "text",
    [
        *("2026-11-01", "2026-11-01T12:00Z", "2026-11-01T12:00:00.5Z", "2026-11-01 12:00:00Z"),
        *("2026-11-01T12:00:00+00:00", "2026-11-01T12:00:00", "2026-11-01t12:00:00z", ""),
        *("2026-02-30T12:00:00Z", "2026-11-01T25:00:00Z", "0000-01-01T00:00:00Z"),
        *("２026-11-01T12:00:00Z", "2026-11-01T12:00:00Z\n"),
    ],
)
def test_a_time_in_any_other_form_is_refused(keys: Keys, text: str) -> None:
    with pytest.raises(BusbenchError) as caught:
        verify_bytes(genesis_line(text, keys), "ledger.jsonl")
    assert caught.value.code == "ledger-invalid"
