"""A verdict on a long ledger keeps no entry in memory, and none that it reads later is another."""

from __future__ import annotations

import json
import resource
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from evaluator.errors import BusbenchError
from harness.ledger import NamedReports, Ranking, Retraction, append, sign, verify_ledger
from harness.ledger.entries import Body, Position, Reported, entry_line, genesis_line
from harness.ledger.index import Index, Row
from harness.sealing.keys import Keys
from tests.support.factories import TIME, make_report


@pytest.fixture(params=["short", "kept"])
def kept(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once without an index, and once with one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("harness.ledger.following.LONG", 2**40 if request.param == "short" else 0)
    monkeypatch.setattr("harness.ledger.following.BLOCK", 16384)  # bytes that are in memory at once


def _ranking(_: Keys) -> Body:
    return Ranking(body={"rows": "x" * 300})


def _report(keys: Keys) -> Body:
    return Reported(envelope=sign(make_report(folds=1), keys))


def build(path: Path, keys: Keys, body: Body, entries: int) -> Path:
    """A ledger of so many times the same entry."""
    lines = [genesis_line(TIME, keys)]
    for number in range(1, entries):
        previous = json.loads(lines[-1])["digest"]
        lines.append(entry_line(body, Position(number, previous, TIME), keys))
    path.write_bytes(b"".join(lines))
    return path


def taken(ledger: Path) -> tuple[int, int]:
    """Bytes that a verdict keeps, and the most that verifying and reading all of it took."""
    tracemalloc.start()
    try:
        verdict = verify_ledger(ledger, anew=True)
        for entry in verdict.walk():
            _ = entry.time
        for report in verdict.each("reports"):
            _ = report.report
        return tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize(("body", "short", "more"), [(_ranking, 100, 300), (_report, 20, 60)])
def test_no_memory_grows_with_the_entries(
    keys: Keys, tmp_path: Path, body: Callable[[Keys], Body], short: int, more: int
) -> None:
    lengths = {"warm": short, "short": short, "long": short + more}
    ledgers = [build(tmp_path / name, keys, body(keys), many) for name, many in lengths.items()]
    _, before, after = map(taken, ledgers)  # the first imports, and fills caches
    held, most = ((late - early) / more for early, late in zip(before, after, strict=True))
    assert max(held, most) < 256, "an entry's object takes twice that, its line three times"


@pytest.mark.usefixtures("kept")
def test_nothing_that_came_later_is_in_a_verdict(keys: Keys, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    first = append(ledger, sign(make_report(method="first", folds=1), keys), keys).entry
    verdict = verify_ledger(ledger)
    append(ledger, sign(make_report(method="second", folds=1), keys), keys)
    append(ledger, Retraction(entry=first.digest, reason="It is withdrawn."), keys)
    assert [entry.number for entry in verdict.walk()] == [1]
    assert [entry.report.method for entry in verdict.reports] == ["first"]
    assert (verdict.count("reports"), verdict.count("retractions")) == (1, 0)
    later = verify_ledger(ledger)
    assert [(name, one.method) for name, one in NamedReports(later).items()] == [
        ("entry 2", "second")
    ]
    assert not {"entry 1", "entry 9", "entry 02", "2", "entry x"} & NamedReports(later).keys()
    assert [entry.report.method for entry in later.each("reports")] == ["second"]
    assert later.counting_at(1) == {1} and later.counting_at(2) == {1, 2}
    assert later.counting_at(3) == {2}


@pytest.mark.usefixtures("kept")
def test_no_entry_that_was_changed_since_is_read(keys: Keys, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    append(ledger, sign(make_report(folds=1), keys), keys)
    append(ledger, Ranking(body={"rows": "right"}), keys)
    verdict = verify_ledger(ledger)
    ledger.write_bytes(ledger.read_bytes().replace(b"right", b"wrong"))
    for read in (lambda: [*verdict.walk()], lambda: verdict.rankings):
        with pytest.raises(BusbenchError, match="entry 2 was changed while it was read") as caught:
            read()
        assert caught.value.code == "ledger-invalid"
    ledger.unlink()
    with pytest.raises(BusbenchError, match="entry 1 was changed while it was read"):
        verdict.reports[0].report  # noqa: B018  reading it is what is tested


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("known", [True, False])
def test_a_full_disk_is_not_taken_for_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    ledger = tmp_path / "ledger.jsonl" if known else None
    digests = [sha256(bytes([n % 256, n // 256])).hexdigest() for n in range(12_000)]
    with (
        pytest.raises(BusbenchError) as caught,
        files_of_at_most(200_000),
        Index.of(ledger) as index,
    ):
        for number, digest in enumerate(digests):
            index.add(Row(number, "ranking", digest, TIME, 0, 1, b"", digest))
    assert caught.value.code == "disk-full" and "TMPDIR" in caught.value.remedy
