"""Recorded statements are kept: results are retracted and keys rotated by new entries alone."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest
from pydantic import ValidationError

from evaluator.errors import BusbenchError
from evaluator.files import canonical_json
from harness.ledger import (
    Ranking,
    RecordedReport,
    Retraction,
    append,
    rotate,
    sign,
    verify_bytes,
    verify_ledger,
)
from harness.ledger.entries import Position, entry_line, genesis_line, rotation_line
from harness.ranking import make_board
from harness.sealing.keys import Keys
from tests.support.factories import TIME, digest_of, make_report


def add(ledger: Path, keys: Keys, method: str) -> str:
    return append(ledger, sign(make_report(method=method, folds=1), keys), keys).entry.digest


def methods(ledger: Path) -> list[str]:
    return [entry.report.method for entry in verify_ledger(ledger).reports]


def refused(data: bytes) -> str:
    with pytest.raises(BusbenchError) as caught:
        verify_bytes(data, "ledger.jsonl")
    assert caught.value.code == "ledger-invalid"
    return caught.value.message


def test_a_retracted_report_leaves_the_board_and_stays_in_the_ledger(
    keys: Keys, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    first = add(ledger, keys, "first")
    add(ledger, keys, "second")
    before = ledger.read_bytes()
    append(ledger, Retraction(entry=first, reason="Trained on the test set."), keys)
    assert ledger.read_bytes().startswith(before)
    verdict = verify_ledger(ledger)
    assert methods(ledger) == ["second"]
    (retraction,) = verdict.retractions
    assert (retraction.retracted.report.method, retraction.reason) == (
        "first",
        "Trained on the test set.",
    )
    rows = [row.method for track in make_board(verdict).tracks for row in track.rows]
    assert rows == ["second"]
    assert [type(entry) for entry in islice(verdict.walk(), 2)] == [RecordedReport] * 2


def test_a_retracted_report_does_not_come_back_by_being_appended_again(
    keys: Keys, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    retraction = Retraction(entry=add(ledger, keys, "first"), reason="A wrong split.")
    assert [append(ledger, retraction, keys).new for _ in range(2)] == [True, False]
    assert not append(ledger, sign(make_report(method="first", folds=1), keys), keys).new
    assert methods(ledger) == []


def test_a_retraction_of_what_is_no_report_that_counts_is_never_written(
    keys: Keys, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    first = add(ledger, keys, "first")
    gone = append(ledger, Retraction(entry=first, reason="A wrong split."), keys).entry.digest
    before = ledger.read_bytes()
    genesis = json.loads(before.splitlines()[0])["digest"]
    for digest in (digest_of("nothing"), genesis, gone, first):
        with pytest.raises(BusbenchError, match="no report that counts"):
            append(ledger, Retraction(entry=digest, reason="Another reason."), keys)
    assert ledger.read_bytes() == before
    place = Position(3, gone, verify_ledger(ledger).time)
    line = entry_line(Retraction(entry=digest_of("nothing"), reason="x"), place, keys)
    assert "no report that counts" in refused(before + line)


@pytest.mark.parametrize("reason", ["", "x" * 501, "two\nlines", "\x1b[2J"])
def test_a_reason_is_one_line_of_plain_text(reason: str) -> None:
    with pytest.raises(ValidationError):
        Retraction(entry=digest_of("entry"), reason=reason)


def test_the_same_rankings_are_recorded_once_until_others_come(keys: Keys, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    one, two = Ranking(body={"b": [1.5, None], "a": "é"}), Ranking(body={})
    news = [append(ledger, body, keys).new for body in (one, one, two, one, one)]
    assert news == [True, False, True, True, False]
    assert [entry.body for entry in verify_ledger(ledger).rankings] == [one.body, {}, one.body]


def test_endless_rankings_are_refused() -> None:
    with pytest.raises(ValidationError, match="a ranking takes more than"):
        Ranking(body={"rows": ["x" * 1024] * 1024})


def test_after_a_rotation_only_the_new_key_writes(
    keys: Keys, other_keys: Keys, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    first = add(ledger, keys, "first")
    assert [rotate(ledger, keys, other_keys).new for _ in range(2)] == [True, False]
    before = ledger.read_bytes()
    with pytest.raises(BusbenchError, match="handed over to another key"):
        add(ledger, keys, "by the old key")
    with pytest.raises(BusbenchError, match="signed by another key"):
        append(ledger, sign(make_report(method="old report"), keys), other_keys)
    assert ledger.read_bytes() == before
    add(ledger, other_keys, "second")
    append(ledger, Retraction(entry=first, reason="Said by the new key."), other_keys)
    assert methods(ledger) == ["second"]
    for key in (keys, other_keys):
        verdict = verify_ledger(ledger, key.report)
        assert (verdict.pinned, verdict.keys) == (
            True,
            (keys.report.keyid, other_keys.report.keyid),
        )


def test_the_same_report_counts_once_whichever_key_signs_it(
    keys: Keys, other_keys: Keys, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    add(ledger, keys, "first")
    rotate(ledger, keys, other_keys)
    assert not append(
        ledger, sign(make_report(method="first", folds=1), other_keys), other_keys
    ).new


def test_a_key_that_was_given_up_never_returns(
    keys: Keys, other_keys: Keys, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    rotate(ledger, keys, other_keys)
    with pytest.raises(BusbenchError, match="given up before"):
        rotate(ledger, other_keys, keys)
    third = Keys.new(tmp_path / "third")
    rotate(ledger, other_keys, third)
    assert verify_ledger(ledger).keys == tuple(
        each.report.keyid for each in (keys, other_keys, third)
    )


def test_a_rotation_needs_both_keys(keys: Keys, other_keys: Keys) -> None:
    data = genesis_line(TIME, keys)
    head = verify_bytes(data, "built").head
    by_the_new_alone = rotation_line(other_keys, Position(1, head, TIME), other_keys)
    assert "another key" in refused(data + by_the_new_alone)
    entry = json.loads(rotation_line(other_keys, Position(1, head, TIME), keys))
    stolen = json.loads(rotation_line(keys, Position(1, head, TIME), keys))["countersignature"]
    for countersignature in (stolen, {**stolen, "keyid": other_keys.report.keyid}):
        forged = _resign({**entry, "countersignature": countersignature}, keys)
        assert "is not valid" in refused(data + forged)


def test_a_countersignature_does_not_hold_in_another_place(keys: Keys, other_keys: Keys) -> None:
    data = genesis_line(TIME, keys)
    other_place = Position(1, digest_of("another genesis"), TIME)
    elsewhere = json.loads(rotation_line(other_keys, other_place, keys))
    head = verify_bytes(data, "built").head
    assert "signature" in refused(data + _resign({**elsewhere, "previous": head}, keys))


def test_an_unknown_kind_and_a_second_genesis_are_refused(keys: Keys) -> None:
    data = genesis_line(TIME, keys)
    head = verify_bytes(data, "built").head
    line = entry_line(Ranking(body={}), Position(1, head, TIME), keys)
    for kind in ("genesis", "deletion", None, ["report"]):
        assert "no kind" in refused(data + _resign({**json.loads(line), "kind": kind}, keys))


def test_no_byte_of_any_kind_of_entry_changes_unnoticed(
    keys: Keys, other_keys: Keys, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    first = add(ledger, keys, "first")
    start = len(ledger.read_bytes())
    append(ledger, Retraction(entry=first, reason="A wrong split."), keys)
    append(ledger, Ranking(body={"rows": [1, 2.5]}), keys)
    rotate(ledger, keys, other_keys)
    data = ledger.read_bytes()
    for at in range(start, len(data)):
        refused(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


def test_numbers_that_json_does_not_know_are_refused(keys: Keys) -> None:
    data = genesis_line(TIME, keys)
    place = Position(1, verify_bytes(data, "built").head, TIME)
    line = entry_line(Ranking(body={"n": 1}), place, keys)
    for number in (b"NaN", b"Infinity", b"1e999", b"1.0e0"):
        refused(data + line.replace(b'"n":1}', b'"n":' + number + b"}"))


def _resign(fields: dict[str, object], keys: Keys) -> bytes:
    """An entry's fields, sealed anew as the organiser would."""
    from harness.ledger.entries import _line  # noqa: PLC0415

    body = {k: v for k, v in fields.items() if k not in {"digest", "signature", "schema"}}
    place = Position(*(body.pop(name) for name in ("number", "previous", "recorded")))  # type: ignore[arg-type]
    line = _line(body, place, keys)
    assert canonical_json(json.loads(line)) + b"\n" == line
    return line


@pytest.mark.parametrize(("version", "writer"), [(b"v1", "0.1"), (b"v2", "0.2")])
def test_a_ledger_of_an_earlier_version_is_refused_by_its_name(
    keys: Keys, tmp_path: Path, version: bytes, writer: str
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    old = genesis_line(TIME, keys).replace(b"ledger-entry/v3", b"ledger-entry/" + version)
    ledger.write_bytes(old)
    for act in (
        lambda: verify_ledger(ledger),
        lambda: append(ledger, Ranking(body={}), keys),
    ):
        with pytest.raises(BusbenchError, match=f"was written by BUSBench {writer}") as caught:
            act()
        assert caught.value.code == "ledger-invalid"
    assert ledger.read_bytes() == old
