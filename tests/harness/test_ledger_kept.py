"""Nothing that was verified before is verified again, and nothing else is ever taken for it."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evaluator.errors import BusbenchError
from harness.ledger import Ranking, Retraction, append, sign, verify_bytes, verify_ledger
from harness.ledger.examination import Batch, Examined, examine
from harness.ledger.index import SCHEMA, Index, index_path
from harness.sealing.keys import Keys
from tests.support.factories import make_report

FIRST = ("first", "second", "third")


@pytest.fixture(autouse=True)
def _always_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep an index of short ledgers, too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("harness.ledger.following.LONG", 0)


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of all entries that are examined from now on."""
    numbers: list[int] = []

    def noting(batches: Batch, *names: object, **how: object) -> Iterator[tuple[bytes, Examined]]:
        for line, one in examine(batches, *names, **how):  # type: ignore[arg-type]
            numbers.append(one.number)
            yield line, one

    monkeypatch.setattr("harness.ledger.following.examine", noting)
    return numbers


def add(ledger: Path, keys: Keys, *names: str) -> None:
    for name in names:
        append(ledger, sign(make_report(method=name, folds=1), keys), keys)


def methods(ledger: Path) -> list[str]:
    return [entry.report.method for entry in verify_ledger(ledger).reports]


def index_of(ledger: Path) -> Path:
    path = index_path(ledger)
    assert path is not None and path.is_file()
    return path


def rewrite(ledger: Path, data: bytes) -> None:
    """Change a file in place, and set its time of modification back."""
    before = ledger.stat()
    with ledger.open("r+b") as handle:
        handle.write(data)
        handle.truncate()
    os.utime(ledger, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_no_entry_is_verified_twice(keys: Keys, tmp_path: Path, examined: list[int]) -> None:
    ledger = tmp_path / "ledger.jsonl"
    add(ledger, keys, *FIRST)
    assert methods(ledger) == [*FIRST]
    assert examined == [0, 1, 2, 3]
    verify_ledger(ledger, anew=True)
    assert examined[4:] == [0, 1, 2, 3]


@pytest.mark.parametrize("touch", [False, True])
def test_a_copy_in_its_place_is_not_verified_again_and_what_follows_is(
    keys: Keys, tmp_path: Path, examined: list[int], touch: bool
) -> None:
    ledger, longer = tmp_path / "ledger.jsonl", tmp_path / "longer.jsonl"
    add(ledger, keys, *FIRST)
    longer.write_bytes(ledger.read_bytes())
    add(longer, keys, "fourth")
    examined.clear()
    if touch:
        ledger.touch()
        assert methods(ledger) == [*FIRST] and not examined
    longer.replace(ledger)
    assert methods(ledger) == [*FIRST, "fourth"]
    assert examined == [4]


def test_no_change_of_a_verified_entry_passes(keys: Keys, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    add(ledger, keys, *FIRST)
    whole, chance = ledger.read_bytes(), random.Random(3)
    for at in chance.sample(range(len(whole)), 20):
        changed = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
        rewrite(ledger, changed)
        for act in (lambda: verify_ledger(ledger), lambda: add(ledger, keys, "on top")):
            with pytest.raises(BusbenchError) as refused:
                act()
            assert refused.value.code == "ledger-invalid"
        assert changed.startswith(ledger.read_bytes())  # a lost newline makes a torn entry
        rewrite(ledger, whole)
        assert methods(ledger) == [*FIRST]


def test_entries_that_are_gone_are_not_remembered(keys: Keys, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    add(ledger, keys, *FIRST)
    lines = ledger.read_bytes().splitlines(keepends=True)
    rewrite(ledger, b"".join(lines[:-1]))
    add(ledger, keys, "third", "fourth")
    assert methods(ledger) == [*FIRST, "fourth"]
    assert verify_bytes(ledger.read_bytes(), "it").entries == 5


def _garbage(index: Path) -> None:
    index.write_bytes(b"no database, but long enough to be one" * 100)


def _half(index: Path) -> None:
    index.write_bytes(index.read_bytes()[: index.stat().st_size // 2])


def _tables_gone(index: Path) -> None:
    with sqlite3.connect(index) as database:
        database.execute("delete from entries where number = 3")


def _other_rules(index: Path) -> None:
    with sqlite3.connect(index) as database:
        older = "update state set document = replace(document, ?, 'busbench/ledger-index/v0')"
        database.execute(older, (SCHEMA,))
        database.execute("update entries set kind = 'ranking'")


def _earlier_tables(index: Path) -> None:
    with sqlite3.connect(index) as database:
        database.execute("alter table entries drop column leaf")
        database.execute("pragma user_version = 2")


SPOILT = [_garbage, _half, _tables_gone, _other_rules, _earlier_tables, Path.unlink]


@pytest.mark.parametrize("spoil", SPOILT)
def test_a_spoilt_index_is_not_believed(
    keys: Keys, tmp_path: Path, examined: list[int], spoil: Callable[[Path], None]
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    add(ledger, keys, *FIRST)
    spoil(index_of(ledger))
    examined.clear()
    try:
        assert methods(ledger) == [*FIRST]
    except BusbenchError as error:
        assert "Do it again" in error.remedy
        assert methods(ledger) == [*FIRST]
    assert examined == [0, 1, 2, 3]


def test_an_index_of_another_ledger_is_not_believed(
    keys: Keys, other_keys: Keys, tmp_path: Path, examined: list[int]
) -> None:
    mine, theirs = tmp_path / "mine.jsonl", tmp_path / "theirs.jsonl"
    add(mine, keys, *FIRST)
    add(theirs, other_keys, "a", "b")
    index_of(mine).write_bytes(index_of(theirs).read_bytes())
    examined.clear()
    assert methods(mine) == [*FIRST] and examined == [0, 1, 2, 3]
    theirs.replace(mine)
    assert methods(mine) == ["a", "b"] and verify_ledger(mine).key == other_keys.report.keyid


def test_an_index_that_comes_with_a_ledger_is_not_looked_at(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, examined: list[int]
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    add(ledger, keys, *FIRST)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "of a reviewer"))
    examined.clear()
    assert methods(ledger) == [*FIRST] and examined == [0, 1, 2, 3]


def test_an_index_that_cannot_be_kept_loses_no_entry(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    (tmp_path / "cache").write_text("a file where the folder should be")
    add(ledger, keys, "first")
    (tmp_path / "cache").unlink()
    with monkeypatch.context() as patched:  # as where a process is killed before it is saved
        patched.setattr(Index, "save", lambda *_: None)
        add(ledger, keys, "second")
    add(ledger, keys, "third")
    assert methods(ledger) == [*FIRST]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(acts=st.lists(st.tuples(st.sampled_from("reports"), st.integers(0, 3)), max_size=12))
def test_kept_and_whole_verification_never_differ(
    keys: Keys, tmp_path_factory: pytest.TempPathFactory, acts: list[tuple[str, int]]
) -> None:
    ledger = tmp_path_factory.mktemp("drawn") / "ledger.jsonl"
    add(ledger, keys, "first")
    for act, number in acts:
        reports = verify_ledger(ledger).reports
        if act == "t" and reports:
            entry = reports[number % len(reports)].digest
            append(ledger, Retraction(entry=entry, reason="It is drawn."), keys)
        elif act == "s":
            append(ledger, Ranking(body={"n": number}), keys)
        else:
            add(ledger, keys, f"method-{number}")
        kept, whole = verify_ledger(ledger), verify_bytes(ledger.read_bytes(), str(ledger))
        assert kept == whole and [*kept.walk()] == [*whole.walk()]
        assert [e.report for e in kept.reports] == [e.report for e in whole.reports]


def test_many_processes_never_judge_otherwise_than_one(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    add(ledger, keys, *(f"method-{n}" for n in range(8)))
    whole = ledger.read_bytes()
    lines = whole.splitlines(keepends=True)
    swapped = b"".join([*lines[:4], lines[5], lines[4], *lines[6:]])
    broken = [whole[:-20], swapped, whole + b"{}\n"]
    at = whole.index(lines[6]) + 500
    broken.append(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])

    def judged(data: bytes) -> object:
        try:
            return verify_bytes(data, "ledger.jsonl")
        except BusbenchError as error:
            return error.message

    alone = [judged(data) for data in (whole, *broken)]
    monkeypatch.setattr("harness.ledger.examination.PARALLEL", 0)
    monkeypatch.setattr("harness.ledger.following.BLOCK", 5000)
    assert [judged(data) for data in (whole, *broken)] == alone
    assert [isinstance(one, str) for one in alone] == [False, *[True] * len(broken)]
