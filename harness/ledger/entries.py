"""What is an entry of the ledger, and does a chain of them hold?

The ledger is JSON lines, each canonical. Entry 0, the genesis, names the key; every further entry
holds one signed report. An entry's digest is SHA-256 over all its other fields, the digest of the
entry before among them. Over the same bytes stands the organiser's signature, so that nobody else
can drop, move or add an entry and compute the chain anew. Everything here is pure: bytes in,
entries out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from evaluator.contract import Contract, Digest, Report
from evaluator.files import canonical_json, sha256_bytes
from harness.ledger.attestation import (
    SignatureText,
    SignedReport,
    check_signature,
    invalid,
    open_report,
    parse_canonical,
)
from harness.sealing.keys import Keys, parse_public_key, public_pem

SCHEMA = "busbench/ledger-entry/v1"
ENTRY_TYPE = "application/vnd.busbench.ledger-entry+json"
NOTHING_BEFORE = "0" * 64
TORN = "it ends in a half-written entry, which the next append sets aside"


class Entry(Contract):
    """What all entries share."""

    schema_: Literal["busbench/ledger-entry/v1"] = Field(alias="schema")
    number: int = Field(ge=0)
    previous: Digest  # the digest of the entry before; zeros in the genesis
    digest: Digest
    signature: SignatureText


class Genesis(Entry):
    """Entry 0: whose ledger this is."""

    kind: Literal["genesis"]
    public_key: str = Field(max_length=512)  # ed25519, PEM


class Recorded(Entry):
    """One signed report."""

    kind: Literal["report"]
    envelope: SignedReport


@dataclass(frozen=True)
class RecordedReport:
    """A report as the ledger vouches for it."""

    number: int
    digest: Digest  # of its entry
    payload_sha256: Digest  # by which the same report is known again
    report: Report


@dataclass(frozen=True)
class LedgerVerdict:
    """A ledger of which everything holds."""

    key: Digest  # fingerprint of the key that signed it all
    pinned: bool  # whether that key was named from outside, or taken from the ledger itself
    head: Digest  # of the last entry; kept elsewhere, it proves later that nothing was dropped
    reports: tuple[RecordedReport, ...]

    @property
    def entries(self) -> int:
        """How many entries there are, the genesis among them: the number of the next one."""
        return len(self.reports) + 1


def genesis_line(keys: Keys) -> bytes:
    """The first line of a new ledger."""
    fields = {"kind": "genesis", "number": 0, "previous": NOTHING_BEFORE}
    return _line({**fields, "public_key": public_pem(keys.report)}, keys)[0]


def report_line(
    signed: SignedReport, number: int, previous: Digest, keys: Keys
) -> tuple[bytes, Digest]:
    """The line that records a signed report as entry `number`, and the entry's digest."""
    fields = {"kind": "report", "number": number, "previous": previous}
    return _line({**fields, "envelope": signed.document()}, keys)


def _line(fields: dict[str, Any], keys: Keys) -> tuple[bytes, Digest]:
    body = {"schema": SCHEMA, **fields}
    envelope = Envelope(canonical_json(body), ENTRY_TYPE, {})
    envelope.sign(keys.signer())
    (signature,) = envelope.to_dict()["signatures"]
    digest = sha256_bytes(envelope.payload)
    return canonical_json({**body, "digest": digest, "signature": signature}) + b"\n", digest


def verify_bytes(
    data: bytes, where: str, key: SSlibKey | None = None, holds: Digest | None = None
) -> LedgerVerdict:
    """Check a whole ledger: canonical bytes, numbers, chain, digests, signatures, reports.

    Args:
        data: the ledger's bytes.
        where: its name, for errors.
        key: the key that must have signed it; without one, the genesis is believed.
        holds: the digest of an entry that must be there, written down at an earlier time.

    Raises:
        BusbenchError: `ledger-invalid`, naming the first entry that does not hold.
    """
    lines = _split(data, where)
    genesis, recorded = _chain(lines, where)
    try:
        own = parse_public_key(genesis.public_key)
    except ValueError as error:
        raise invalid(f"{where}: entry 0", "its public key is damaged") from error
    if key is not None and key.keyid != own.keyid:
        raise invalid(where, f"it belongs to another key ({own.keyid[:16]}…)")
    entries = (genesis, *recorded)
    for entry, line in zip(entries, lines, strict=True):
        _check_signature(entry, line, own, where)
    if holds is not None and holds not in {entry.digest for entry in entries}:
        raise invalid(where, f"it has no entry with the digest {holds}")
    reports = tuple(_open(entry, own, where) for entry in recorded)
    return LedgerVerdict(own.keyid, key is not None, entries[-1].digest, reports)


def _split(data: bytes, where: str) -> list[bytes]:
    if not data:
        raise invalid(where, "it is empty")
    *lines, tail = data.split(b"\n")
    if tail:
        raise invalid(where, TORN)
    return lines


def _chain(lines: list[bytes], where: str) -> tuple[Genesis, tuple[Recorded, ...]]:
    """Parse all lines and follow the digests from each to the next."""
    genesis = parse_canonical(Genesis, lines[0], f"{where}: entry 0")
    recorded = tuple(
        parse_canonical(Recorded, line, f"{where}: entry {number}")
        for number, line in enumerate(lines[1:], start=1)
    )
    previous = NOTHING_BEFORE
    for number, (entry, line) in enumerate(zip((genesis, *recorded), lines, strict=True)):
        at = f"{where}: entry {number}"
        if entry.digest != sha256_bytes(_body(line)):
            raise invalid(at, "it was changed after it was written")
        if entry.number != number or entry.previous != previous:
            raise invalid(at, "it does not follow the entry before it")
        previous = entry.digest
    return genesis, recorded


def _body(line: bytes) -> bytes:
    """The part of a line that is hashed and signed."""
    fields = json.loads(line)
    return canonical_json({k: fields[k] for k in fields.keys() - {"digest", "signature"}})


def _check_signature(entry: Entry, line: bytes, key: SSlibKey, where: str) -> None:
    at = f"{where}: entry {entry.number}"
    check_signature(_body(line), ENTRY_TYPE, entry.signature, key, at)


def _open(entry: Recorded, key: SSlibKey, where: str) -> RecordedReport:
    report = open_report(entry.envelope, key, f"{where}: entry {entry.number}")
    return RecordedReport(entry.number, entry.digest, entry.envelope.payload_sha256, report)
