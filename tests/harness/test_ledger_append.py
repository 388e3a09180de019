"""No entry is lost, doubled or half-written, whoever else writes and whenever one is killed."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from evaluator.errors import BusbenchError
from harness.ledger import append, sign, verify_ledger
from harness.ledger import chain as chain_module
from harness.sealing.keys import Keys
from tests.factories import make_report

FORK = multiprocessing.get_context("fork")


def add(ledger: Path, keys: Keys, method: str) -> None:
    append(ledger, sign(make_report(method=method, folds=1), keys), keys)


def methods(ledger: Path) -> list[str]:
    return [entry.report.method for entry in verify_ledger(ledger).reports]


def test_the_same_report_never_counts_twice(keys: Keys, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    signed = sign(make_report(), keys)
    first = append(ledger, signed, keys)
    bytes_before = ledger.read_bytes()
    again = append(ledger, signed, keys)
    assert (first.new, again.new) == (True, False)
    assert again.entry == first.entry == verify_ledger(ledger).reports[0]
    assert ledger.read_bytes() == bytes_before


def test_another_organiser_cannot_write_on(keys: Keys, other_keys: Keys, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    add(ledger, keys, "mine")
    before = ledger.read_bytes()
    with pytest.raises(BusbenchError, match="another key"):
        add(ledger, other_keys, "theirs")
    assert ledger.read_bytes() == before


def test_nothing_is_built_on_a_changed_ledger(keys: Keys, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    add(ledger, keys, "first")
    changed = ledger.read_bytes().replace(b'"number":1', b'"number":2')
    ledger.write_bytes(changed)
    with pytest.raises(BusbenchError) as caught:
        add(ledger, keys, "second")
    assert caught.value.code == "ledger-invalid"
    assert ledger.read_bytes() == changed


def test_a_torn_tail_is_set_aside_with_a_warning_and_nothing_else_is_lost(
    keys: Keys, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = tmp_path / "whole.jsonl"
    for method in ("first", "second"):
        add(whole, keys, method)
    data = whole.read_bytes()
    starts = [0, *(at + 1 for at, byte in enumerate(data) if byte == 10)]
    for length in (1, starts[1] - 1, starts[1] + 1, starts[2] - 1, starts[2] + 7, len(data) - 1):
        ledger = tmp_path / f"cut-{length}" / "ledger.jsonl"
        ledger.parent.mkdir()
        ledger.write_bytes(data[:length])
        with pytest.raises(BusbenchError, match="half-written"):
            verify_ledger(ledger)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            add(ledger, keys, "third")
        kept = sum(start <= length for start in starts[2:])
        assert methods(ledger) == [*["first", "second"][:kept], "third"]
        torn = ledger.with_name("ledger.jsonl.torn-1").read_bytes()
        assert torn == data[:length][max(start for start in starts if start <= length) :]
        assert "torn-1" in caplog.text


def test_a_second_torn_tail_does_not_overwrite_the_first(keys: Keys, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    for n in (1, 2):
        add(ledger, keys, f"whole-{n}")
        with ledger.open("ab") as handle:
            handle.write(b"torn %d" % n)
    add(ledger, keys, "last")
    assert methods(ledger) == ["whole-1", "whole-2", "last"]
    torn = sorted(path for path in tmp_path.iterdir() if "torn" in path.name)
    assert [path.read_bytes() for path in torn] == [b"torn 1", b"torn 2"]


def test_an_empty_file_left_by_a_killed_run_becomes_a_ledger(keys: Keys, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    ledger.touch()
    add(ledger, keys, "first")
    assert methods(ledger) == ["first"]


def _add_ten(ledger: Path, keys: Keys, writer: int) -> None:
    for n in range(10):
        add(ledger, keys, f"writer-{writer}-{n}")


def test_concurrent_writers_lose_nothing(keys: Keys, tmp_path: Path) -> None:
    ledger = tmp_path / "new" / "ledger.jsonl"
    writers = [FORK.Process(target=_add_ten, args=(ledger, keys, n)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
        assert writer.exitcode == 0
    assert sorted(methods(ledger)) == sorted(f"writer-{w}-{n}" for w in range(4) for n in range(10))


def _append_and_tell(ledger: Path, keys: Keys, start: int, done: Path) -> None:
    """Append without end; each acknowledged entry is noted in `done`."""
    with done.open("ab", buffering=0) as notes:
        for n in range(start, start + 1000):
            add(ledger, keys, f"m{n}")
            notes.write(b"m%d\n" % n)


def test_a_kill_at_any_moment_loses_no_acknowledged_entry(keys: Keys, tmp_path: Path) -> None:
    chance = random.Random(7)
    acknowledged = 0
    for round_ in range(25):
        ledger, done = tmp_path / f"{round_ // 5}.jsonl", tmp_path / f"{round_ // 5}.done"
        writer = FORK.Process(target=_append_and_tell, args=(ledger, keys, round_ * 1000, done))
        writer.start()
        time.sleep(chance.uniform(0.005, 0.15))
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
        add(ledger, keys, f"after-{round_}")
        noted = done.read_text().split() if done.exists() else []
        recorded = methods(ledger)
        assert set(noted) <= set(recorded)
        assert len(recorded) == len(set(recorded))
        acknowledged += len(noted)
    assert acknowledged > 25  # else the writers were killed before they wrote anything


def test_a_full_disk_leaves_the_ledger_as_it_was(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    add(ledger, keys, "first")
    before = ledger.read_bytes()

    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(chain_module.os, "fsync", no_space)
        with pytest.raises(BusbenchError) as caught:
            add(ledger, keys, "second")
    assert caught.value.code == "disk-full"
    assert ledger.read_bytes() == before
    add(ledger, keys, "second")
    assert methods(ledger) == ["first", "second"]


def test_a_folder_is_not_taken_for_a_ledger(keys: Keys, tmp_path: Path) -> None:
    with pytest.raises(BusbenchError) as caught:
        add(tmp_path, keys, "first")
    assert caught.value.code == "ledger-invalid"
