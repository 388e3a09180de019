"""No entry is lost, doubled or half-written, whoever else writes and whenever one is killed."""

from __future__ import annotations

import base64
import errno
import itertools
import logging
import multiprocessing
import os
import random
import resource
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from evaluator.errors import BusbenchError
from harness.ledger import append, sign, verify_ledger
from harness.ledger.attestation import Statement, parse_canonical
from harness.ledger.following import LONG
from harness.sealing.keys import Keys
from tests.support.factories import make_report

KILLS, ENTRY_BYTES = 240, 4000
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


def test_the_same_evaluation_done_again_never_counts_twice(keys: Keys, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    slow, fast = make_report(latency_ms=90.0), make_report(latency_ms=3.0)
    assert slow.identity() == fast.identity() != make_report(dice=0.5).identity()
    first = append(ledger, sign(slow, keys), keys)
    again = append(ledger, sign(fast, keys), keys)
    assert (first.new, again.new) == (True, False)
    assert again.entry == first.entry and len(verify_ledger(ledger).reports) == 1
    on_another_device = slow.model_copy(
        update={"runtime": slow.runtime.model_copy(update={"device": "cuda"})}
    )
    assert append(ledger, sign(on_another_device, keys), keys).new


def test_a_report_of_an_older_release_is_refused_by_name(keys: Keys) -> None:
    signed = sign(make_report(), keys)
    payload = base64.b64decode(signed.payload).replace(b"busbench/report/v5", b"busbench/report/v4")
    with pytest.raises(BusbenchError) as refused:
        parse_canonical(Statement, payload, "the ledger")
    assert refused.value.code == "ledger-invalid"
    assert "'busbench/report/v4', and this release reads 'busbench/report/v5'" in f"{refused.value}"


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


@pytest.mark.parametrize("long", [0, LONG])
def test_concurrent_writers_lose_nothing(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, long: int
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("harness.ledger.following.LONG", long)
    ledger = tmp_path / "new" / "ledger.jsonl"
    writers = [FORK.Process(target=_add_ten, args=(ledger, keys, n)) for n in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
        assert writer.exitcode == 0
    assert sorted(methods(ledger)) == sorted(f"writer-{w}-{n}" for w in range(4) for n in range(10))


def _append_and_tell(
    ledger: Path, keys: Keys, name: str, done: Path, entries: Iterable[int], space: int | None
) -> None:
    """Append entries and note each that is acknowledged.

    Args:
        entries: the numbers of the entries; without end for a writer that is to be killed.
        space: bytes that the ledger may still grow by. The kernel then cuts a write short at that
            byte and kills the process at the next: a half entry, as a crash may leave it.
    """
    if space is not None:
        size = ledger.stat().st_size if ledger.exists() else 0
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python would turn it into an error
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + space, resource.RLIM_INFINITY))
    with done.open("ab", buffering=0) as notes:
        for n in entries:
            add(ledger, keys, f"{name}-{n}")
            notes.write(f"{name}-{n}\n".encode())


def _check_nothing_lost(ledger: Path, keys: Keys, done: Path) -> int:
    """Hold the ledger and what was set aside against what was acknowledged."""
    add(ledger, keys, "after the kills")
    recorded = methods(ledger)
    verify_ledger(ledger, anew=True)  # every entry is whole and signed
    noted = done.read_text().split() if done.exists() else []
    assert set(noted) <= set(recorded)
    assert len(recorded) == len(set(recorded))
    lines = ledger.read_bytes().splitlines()
    torn = [path.read_bytes() for path in ledger.parent.glob(f"{ledger.name}.torn-*")]
    for piece in torn:
        assert piece and b"\n" not in piece
        assert piece not in lines
    return len(torn)


def _kill_by_time(ledger: Path, keys: Keys, name: str, done: Path, chance: random.Random) -> bool:
    """Two writers at once, the endless one killed at a random time; whether it was at work."""
    writers = [
        FORK.Process(
            target=_append_and_tell, args=(ledger, keys, f"{name}{who}", done, entries, None)
        )
        for who, entries in (("a", itertools.count()), ("b", range(3)))
    ]
    for writer in writers:
        writer.start()
    time.sleep(chance.uniform(0, 0.03))
    os.kill(writers[0].pid or 0, signal.SIGKILL)
    for writer in writers:
        writer.join()
    assert writers[1].exitcode == 0
    return writers[0].exitcode == -signal.SIGKILL


def _kill_by_byte(ledger: Path, keys: Keys, name: str, done: Path, chance: random.Random) -> bool:
    """A writer that the kernel kills at a random byte of what it writes."""
    space = chance.randrange(1, 3 * ENTRY_BYTES)
    writer = FORK.Process(target=_append_and_tell, args=(ledger, keys, name, done, range(3), space))
    writer.start()
    writer.join()
    return writer.exitcode == -signal.SIGXFSZ


@pytest.mark.slow
def test_hundreds_of_kills_at_any_moment_lose_no_entry_and_leave_no_half_one(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    chance = random.Random(7)
    killed = dict.fromkeys((_kill_by_time, _kill_by_byte), 0)
    torn = 0
    for round_ in range(KILLS):
        folder = tmp_path / str(round_ // 8)  # new ledgers now and then: also the first write
        folder.mkdir(exist_ok=True)
        ledger, done = folder / "ledger.jsonl", folder / "done"
        # Every other ledger has an index from its first entry on, as a long one has.
        monkeypatch.setattr("harness.ledger.following.LONG", (round_ // 8 % 2) * LONG)
        kill = _kill_by_byte if round_ % 2 else _kill_by_time
        killed[kill] += kill(ledger, keys, f"{round_}", done, chance)
        if round_ % 8 == 7:
            torn += _check_nothing_lost(ledger, keys, done)
    assert sum(killed.values()) >= 200 and min(killed.values()) >= 50, killed
    assert torn >= 50


def test_a_full_disk_leaves_the_ledger_as_it_was(
    keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    add(ledger, keys, "first")
    before = ledger.read_bytes()

    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("harness.ledger.chain.os.fsync", no_space)
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
