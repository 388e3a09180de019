"""Verification of a ledger: bytes in, and out comes what it vouches for, or an error.

The entries are followed one by one, each checked against what the earlier ones established: the
digest before, the key that signs now, the reports that count.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from pydantic import JsonValue
from securesystemslib.signer import SSlibKey

from evaluator.documents.base import Digest
from evaluator.documents.reading import load_json
from evaluator.errors import BusbenchError
from evaluator.files import sha256_bytes
from harness.ledger.attestation import (
    CODE,
    check_signature,
    invalid,
    open_report,
    parse_canonical,
)
from harness.ledger.entries import (
    ENTRIES,
    ENTRY_TYPE,
    NOTHING_BEFORE,
    ROTATION_TYPE,
    SCHEMA_OF_0_1,
    Entry,
    Genesis,
    Instant,
    RankingEntry,
    ReportEntry,
    RetractionEntry,
    RotationEntry,
    signed_part,
)
from harness.ledger.report import Report
from harness.sealing.keys import parse_public_key

TORN = "it ends in a half-written entry, which the next append sets aside"


@dataclass(frozen=True)
class Recorded:
    """An entry as the ledger vouches for it."""

    number: int
    digest: Digest  # of its entry
    time: Instant  # at which it was recorded


@dataclass(frozen=True)
class RecordedReport(Recorded):
    """A report in the ledger."""

    payload_sha256: Digest  # by which the same report is known again, whichever key signs it
    report: Report


@dataclass(frozen=True)
class RecordedRetraction(Recorded):
    """A report that no longer counts, and why."""

    retracted: RecordedReport
    reason: str


@dataclass(frozen=True)
class RecordedRanking(Recorded):
    """The ranking of a track in the ledger."""

    body: dict[str, JsonValue]


@dataclass(frozen=True)
class RecordedRotation(Recorded):
    """A change of the organiser's key."""

    key: Digest  # fingerprint of the key that signs all later entries


@dataclass(frozen=True)
class LedgerVerdict:
    """A ledger in which everything was verified."""

    signers: tuple[SSlibKey, ...]  # the keys that signed it, one after the other
    pinned: bool  # whether one of the keys was named from outside, or all taken from the ledger
    head: Digest  # of the last entry; kept elsewhere, it proves later that nothing was dropped
    entries: int  # the genesis among them: the number of the next entry
    time: Instant  # at which the last entry was recorded
    recorded: tuple[Recorded, ...]  # all but the genesis, in order

    @property
    def keys(self) -> tuple[Digest, ...]:
        """Fingerprints of the keys that signed it."""
        return tuple(key.keyid for key in self.signers)

    @property
    def key(self) -> Digest:
        """Fingerprint of the key that signs now."""
        return self.keys[-1]

    def signer_after(self, entries: int) -> SSlibKey:
        """The key that signed next when the ledger had so many entries."""
        rotations = [entry for entry in self.recorded if isinstance(entry, RecordedRotation)]
        return self.signers[sum(entry.number < entries for entry in rotations)]

    @property
    def retractions(self) -> tuple[RecordedRetraction, ...]:
        """The retractions, each with the report it retracts."""
        return tuple(entry for entry in self.recorded if isinstance(entry, RecordedRetraction))

    @property
    def reports(self) -> tuple[RecordedReport, ...]:
        """The reports that count: those not retracted."""
        gone = {entry.retracted.number for entry in self.retractions}
        return tuple(
            entry
            for entry in self.recorded
            if isinstance(entry, RecordedReport) and entry.number not in gone
        )

    @property
    def rankings(self) -> tuple[RecordedRanking, ...]:
        """All rankings, the newest last."""
        return tuple(entry for entry in self.recorded if isinstance(entry, RecordedRanking))


def verify_bytes(
    data: bytes, where: str, key: SSlibKey | None = None, *, holds: Digest | None = None
) -> LedgerVerdict:
    """Check a whole ledger: canonical bytes, numbers, chain, digests, signatures, reports.

    Args:
        data: the ledger's bytes.
        where: its name, for errors.
        key: a key that must have signed it, the first or one that it was rotated to (which vouches
            for all before it); without one, the genesis is believed.
        holds: the digest of an entry that must be there, written down at an earlier time.

    Raises:
        BusbenchError: `ledger-invalid`, naming the first entry that fails.
    """
    follower = Follower.over(data, where)
    verdict = follower.verdict(pinned=key is not None)
    if key is not None and key.keyid not in verdict.keys:
        raise invalid(where, f"it belongs to another key ({verdict.key[:16]}…)")
    if holds is not None and holds not in follower.digests:
        raise invalid(where, f"it has no entry with the digest {holds}")
    return verdict


class Follower:
    """Follows a ledger from its genesis, line by line; each must be valid in its place."""

    def __init__(self, where: str, genesis: bytes) -> None:
        self._where = where
        self._recorded: list[Recorded] = []
        self._reports: dict[Digest, RecordedReport] = {}  # those that count, by entry
        self._signers: list[SSlibKey] = []
        self.digests: list[Digest] = []
        self._time: Instant = ""  # of the last entry
        _require_readable(genesis, where)
        entry = parse_canonical(Genesis, genesis, self._at)
        self._take_key(entry.public_key)
        self._check_place(entry, genesis)

    @classmethod
    def over(cls, data: bytes, where: str) -> Follower:
        """A follower at the end of a whole ledger."""
        if not data:
            raise invalid(where, "it is empty")
        if not data.endswith(b"\n"):
            raise invalid(where, TORN)
        lines = io.BytesIO(data)  # one after the other: a list of them could fill the memory
        follower = cls(where, lines.readline()[:-1])
        for line in lines:
            follower.follow(line[:-1])
        return follower

    @property
    def _at(self) -> str:
        return f"{self._where}: entry {len(self.digests)}"

    def follow(self, line: bytes) -> Recorded:
        """Take the next line, without its newline; raises `ledger-invalid` where it fails."""
        entry = parse_canonical(_kind_of(line, self._at), line, self._at)
        at, key = self._at, self._signers[-1]
        self._check_place(entry, line)
        recorded = self._read(entry, line, key, at=at)
        self._recorded.append(recorded)
        return recorded

    def verdict(self, pinned: bool) -> LedgerVerdict:
        """What the lines so far amount to."""
        return LedgerVerdict(
            signers=tuple(self._signers),
            pinned=pinned,
            head=self.digests[-1],
            entries=len(self.digests),
            time=self._time,
            recorded=tuple(self._recorded),
        )

    def _check_place(self, entry: Entry, line: bytes) -> None:
        body = signed_part(line)
        if entry.digest != sha256_bytes(body):
            raise invalid(self._at, "it was changed after it was written")
        previous = self.digests[-1] if self.digests else NOTHING_BEFORE
        if entry.number != len(self.digests) or entry.previous != previous:
            raise invalid(self._at, "it does not follow the entry before it")
        if entry.recorded < self._time:
            raise invalid(self._at, "it says that it was recorded before the entry before it")
        check_signature(body, ENTRY_TYPE, entry.signature, key=self._signers[-1], where=self._at)
        self.digests.append(entry.digest)
        self._time = entry.recorded

    def _read(self, entry: Entry, line: bytes, key: SSlibKey, *, at: str) -> Recorded:
        place = (entry.number, entry.digest, entry.recorded)
        match entry:
            case ReportEntry(envelope=envelope):
                report = open_report(envelope, (key,), at)
                recorded = RecordedReport(*place, envelope.payload_sha256, report)
                self._reports[entry.digest] = recorded
                return recorded
            case RetractionEntry(entry=digest, reason=reason):
                if digest not in self._reports:
                    raise invalid(at, f"it retracts {digest}, which is no report that counts")
                return RecordedRetraction(*place, self._reports.pop(digest), reason)
            case RotationEntry():
                self._take_key(entry.public_key)
                new, unsigned = self._signers[-1], signed_part(line, "countersignature")
                check_signature(unsigned, ROTATION_TYPE, entry.countersignature, key=new, where=at)
                return RecordedRotation(*place, new.keyid)
            case RankingEntry(body=body):
                return RecordedRanking(*place, body)
        raise AssertionError(entry)

    def _take_key(self, pem: str) -> None:
        try:
            key = parse_public_key(pem)
        except ValueError as error:
            raise invalid(self._at, "its public key is damaged, or weak") from error
        if key in self._signers:  # it was given up, perhaps because it was stolen
            raise invalid(self._at, "it hands over to a key that was given up before")
        self._signers.append(key)


def _require_readable(genesis: bytes, where: str) -> None:
    """Refuse by name a ledger whose entries have the schema of an earlier version."""
    try:
        schema = load_json(genesis, Genesis.bounds)["schema"]
    except (ValueError, TypeError, LookupError, RecursionError):
        return  # whoever reads it next says what is wrong with it
    if schema == SCHEMA_OF_0_1:
        message = f"{where} was written by BUSBench 0.1, whose ledgers this version cannot read."
        remedy = "Verify it with version 0.1; to go on, evaluate its submissions into a new ledger."
        raise BusbenchError(CODE, message, remedy)


def _kind_of(line: bytes, where: str) -> type[Entry]:
    try:
        kind = load_json(line, Entry.bounds)["kind"]
        return ENTRIES[kind]
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise invalid(where, "it is of no kind that a ledger knows") from error
