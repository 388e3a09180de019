"""No byte of a ledger or a report changes unnoticed, and nobody else can write one."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluator.errors import BusbenchError
from evaluator.files import canonical_json
from harness.ledger import append, sign, verify_bytes, verify_ledger, verify_report, write_report
from harness.ledger.attestation import SignedReport, open_bytes
from harness.ledger.entries import Position, Reported, Retraction, entry_line, genesis_line
from harness.ledger.report import Report
from harness.sealing.keys import Keys
from tests.support.factories import TIME, digest_of, make_report

CHANGES: dict[str, Callable[[bytes, int], bytes]] = {
    "lowest bit": lambda data, at: data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :],
    "case bit": lambda data, at: data[:at] + bytes([data[at] ^ 32]) + data[at + 1 :],
    "a digit": lambda data, at: data[:at] + (b"7" if data[at] != 55 else b"8") + data[at + 1 :],
    "dropped": lambda data, at: data[:at] + data[at + 1 :],
    "a blank before": lambda data, at: data[:at] + b" " + data[at:],
}


@pytest.fixture(scope="module")
def ledger_bytes(keys: Keys) -> bytes:
    """A genesis and two small reports."""
    return build(keys, "first", "second")


def build(keys: Keys, *methods: str) -> bytes:
    data = genesis_line(TIME, keys)
    for method in methods:
        head = verify_bytes(data, "built")
        signed = sign(make_report(method=method, folds=1), keys)
        data += report_line(signed, head.entries, head.head, keys)
    return data


def report_line(signed: SignedReport, number: int, previous: str, keys: Keys) -> bytes:
    return entry_line(Reported(envelope=signed), Position(number, previous, TIME), keys)


def refused(data: bytes, **how: object) -> str:
    with pytest.raises(BusbenchError) as caught:
        verify_bytes(data, "ledger.jsonl", **how)  # type: ignore[arg-type]
    assert caught.value.code == "ledger-invalid"
    return caught.value.message


def test_a_whole_ledger_holds(keys: Keys, ledger_bytes: bytes) -> None:
    verdict = verify_bytes(ledger_bytes, "ledger.jsonl")
    assert [entry.report.method for entry in verdict.reports] == ["first", "second"]
    assert (verdict.key, verdict.pinned, verdict.entries) == (keys.report.keyid, False, 3)
    assert verdict.reports[0].report == make_report(method="first", folds=1)


@pytest.fixture(scope="module")
def retracted_bytes(keys: Keys) -> bytes:
    """A genesis, a report and its retraction: what is before a byte is verified before it."""
    data = build(keys, "first")
    verdict = verify_bytes(data, "built")
    retraction = Retraction(entry=verdict.reports[0].digest, reason="A trial.")
    return data + entry_line(retraction, Position(verdict.entries, verdict.head, TIME), keys)


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_no_single_byte_of_a_ledger_changes_unnoticed(retracted_bytes: bytes, change: str) -> None:
    data = retracted_bytes
    assert verify_bytes(data, "ledger.jsonl").entries == 3
    for at in range(len(data)):
        try:
            verify_bytes(CHANGES[change](data, at), "ledger.jsonl")
        except BusbenchError as error:
            assert error.code == "ledger-invalid"
        else:
            pytest.fail(f"byte {at} ({change}) changed unnoticed: {data[at : at + 9]!r}")


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_no_random_byte_changes_unnoticed(ledger_bytes: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(ledger_bytes) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda value: value != ledger_bytes[at]))
    refused(ledger_bytes[:at] + bytes([byte]) + ledger_bytes[at + 1 :])


def test_a_truncated_ledger_is_refused(ledger_bytes: bytes) -> None:
    boundaries = {at + 1 for at, byte in enumerate(ledger_bytes) if byte == 10}
    for length in set(range(len(ledger_bytes))) - boundaries:
        refused(ledger_bytes[:length])


def test_dropped_last_entries_show_against_a_digest_kept_elsewhere(ledger_bytes: bytes) -> None:
    lines = ledger_bytes.splitlines(keepends=True)
    head = verify_bytes(ledger_bytes, "ledger.jsonl").head
    shortened = b"".join(lines[:-1])
    verify_bytes(shortened, "ledger.jsonl")  # a ledger as it was before: true, but not all
    assert "has no entry" in refused(shortened, holds=head)


@pytest.mark.parametrize(
    "order", [(0, 2), (1, 2), (2,), (1,), (0, 2, 1), (1, 0, 2), (0, 1, 1, 2), (0, 0, 1, 2)]
)
def test_dropped_moved_and_doubled_entries_are_refused(
    ledger_bytes: bytes, order: tuple[int, ...]
) -> None:
    lines = ledger_bytes.splitlines(keepends=True)
    refused(b"".join(lines[number] for number in order))


def test_a_chain_computed_anew_without_the_key_is_refused(
    keys: Keys, other_keys: Keys, ledger_bytes: bytes
) -> None:
    """Who drops the first report and repairs all digests still lacks the signature."""
    lines = ledger_bytes.splitlines()
    entry = json.loads(lines[2])
    genesis = json.loads(lines[0])
    signed = SignedReport.model_validate(entry["envelope"])
    forged = json.loads(report_line(signed, 1, genesis["digest"], other_keys))
    assert "another key" in refused(lines[0] + b"\n" + canonical_json(forged) + b"\n")
    forged["signature"]["keyid"] = keys.report.keyid
    assert "signature" in refused(lines[0] + b"\n" + canonical_json(forged) + b"\n")


def test_a_ledger_by_another_key_is_refused_when_the_key_is_named(
    keys: Keys, other_keys: Keys, ledger_bytes: bytes
) -> None:
    assert verify_bytes(ledger_bytes, "ledger.jsonl", keys.report).pinned
    assert "another key" in refused(ledger_bytes, key=other_keys.report)


def test_a_report_signed_by_another_key_never_enters(
    keys: Keys, other_keys: Keys, tmp_path: Path
) -> None:
    foreign = sign(make_report(), other_keys)
    with pytest.raises(BusbenchError, match="another key"):
        append(tmp_path / "ledger.jsonl", foreign, keys)
    data = genesis_line(TIME, keys)
    head = verify_bytes(data, "built").head
    assert "another key" in refused(data + report_line(foreign, 1, head, keys))


def test_a_statement_about_other_files_than_its_report_is_refused(keys: Keys) -> None:
    signed = sign(make_report(), keys)
    statement = json.loads(base64.b64decode(signed.payload))
    statement["subject"][0]["digest"]["sha256"] = digest_of("another model")
    forged = resign(canonical_json(statement), keys)
    data = genesis_line(TIME, keys)
    line = report_line(forged, 1, verify_bytes(data, "built").head, keys)
    assert "subjects" in refused(data + line)


@pytest.mark.parametrize("payload", [b"{}", b"null", b"[" * 100_000, b'{"_type":NaN}', b"\xff"])
def test_a_signed_payload_that_is_no_report_is_refused(keys: Keys, payload: bytes) -> None:
    data = genesis_line(TIME, keys)
    line = report_line(resign(payload, keys), 1, verify_bytes(data, "built").head, keys)
    assert "statement" in refused(data + line)


def resign(payload: bytes, keys: Keys) -> SignedReport:
    from securesystemslib.dsse import Envelope  # noqa: PLC0415

    envelope = Envelope(payload, "application/vnd.in-toto+json", {})
    envelope.sign(keys.signer())
    return SignedReport.model_validate(envelope.to_dict())


@pytest.mark.parametrize("data", [b"", b"\n", b"{}\n", b"\xff\xfe\n", b"[]\n", b"\x00" * 64])
def test_what_is_no_ledger_is_refused(data: bytes) -> None:
    refused(data)


def test_a_missing_ledger_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.jsonl", tmp_path):
        with pytest.raises(BusbenchError, match=path.name) as caught:
            verify_ledger(path)
        assert caught.value.code == "ledger-invalid"


@pytest.mark.parametrize("change", CHANGES)
def test_no_single_byte_of_a_report_changes_unnoticed(
    keys: Keys, tmp_path: Path, change: str
) -> None:
    path = tmp_path / "report.json"
    write_report(sign(make_report(folds=1), keys), path)
    whole = path.read_bytes()
    assert verify_report(path, keys.report) == make_report(folds=1)
    for at in range(len(whole)):
        with pytest.raises(BusbenchError):
            open_bytes(CHANGES[change](whole, at), keys.report, "report.json")


def test_the_same_report_is_signed_to_the_same_bytes(keys: Keys) -> None:
    assert sign(make_report(), keys) == sign(make_report(), keys)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_report_without_a_number_cannot_be_made(number: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        make_report(dice=number, iou=0.5)


def test_a_report_that_contradicts_itself_cannot_be_made() -> None:
    fields = make_report().document()
    fields["provenance"]["models_sha256"] = [digest_of("another model")]
    with pytest.raises(ValueError, match="different model files"):
        Report.model_validate(fields)


def test_openssl_alone_can_check_a_report(keys: Keys, public_key: Path, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    signed = sign(make_report(), keys).document()
    payload = base64.b64decode(signed["payload"])
    kind = signed["payloadType"]
    pae = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
    (tmp_path / "pae").write_bytes(pae)
    (tmp_path / "sig").write_bytes(base64.b64decode(signed["signatures"][0]["sig"]))
    command = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", str(public_key), "-rawin"]
    command += ["-in", str(tmp_path / "pae"), "-sigfile", str(tmp_path / "sig")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
