"""Verdict on a ledger: its state, and its entries as others read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeAlias

from securesystemslib.signer import SSlibKey

from evaluator.documents.base import Digest
from harness.ledger.attestation import invalid
from harness.ledger.entries import Instant
from harness.ledger.recorded import (
    Recorded,
    RecordedRanking,
    RecordedReport,
    RecordedRescoring,
    RecordedRetraction,
    Records,
)
from harness.ledger.report import Report

Reports: TypeAlias = Literal["reports", "all_reports"]
What: TypeAlias = Reports | Literal["pending", "retractions", "rescorings"]
_ROWS: dict[What, str] = {  # which rows of the index they are
    "reports": "since is not null and gone is null",
    "all_reports": "since is not null",
    "pending": "kind = 'rescored' and since is null",
    "retractions": "kind = 'retraction'",
    "rescorings": "kind = 'rescoring'",
}
_ENTRY = "entry "  # a report's name is this, and its number


@dataclass(frozen=True)
class LedgerState:
    """Whose a ledger is, and where it ends."""

    signers: tuple[SSlibKey, ...]  # the keys that signed it, one after the other
    head: Digest  # of the last entry; kept elsewhere, it proves later that nothing was dropped
    entries: int  # the genesis among them: the number of the next entry
    time: Instant  # at which the last entry was recorded

    @property
    def keys(self) -> tuple[Digest, ...]:
        """Fingerprints of the keys that signed it."""
        return tuple(key.keyid for key in self.signers)

    @property
    def key(self) -> Digest:
        """Fingerprint of the key that signs now."""
        return self.keys[-1]

    def require_signer(self, key: Digest, where: str) -> None:
        """Refuse a ledger that `key` never signed; raises `ledger-invalid`."""
        if key not in self.keys:
            raise invalid(where, f"it belongs to another key ({self.key[:16]}…)")


@dataclass(frozen=True)
class LedgerVerdict(LedgerState):
    """A ledger in which everything was verified.

    What it says of entries is read when it is asked for: those of a long ledger fill the memory.
    All that does so raises `ledger-invalid` where the ledger was changed since.
    """

    pinned: bool  # whether one of the keys was named from outside, or all taken from the ledger
    records: Records = field(compare=False, repr=False)  # the same wherever the head is

    @property
    def where(self) -> str:
        """The ledger's name, for errors."""
        return self.records.where

    def walk(self) -> Iterator[Recorded]:
        """All entries but the genesis, in order, for whoever needs one at a time."""
        return self.records.find("number > 0")

    def count(self, what: What) -> int:
        """How many there are of them."""
        return self.records.index.count(_ROWS[what])

    def each(self, what: Reports) -> Iterator[RecordedReport]:
        """The same reports as by that name, for whoever needs one at a time and keeps none."""
        return self.records.reports(_ROWS[what])

    def report(self, number: int, what: Reports = "all_reports") -> RecordedReport | None:
        """The one of these reports whose entry has a number; None where there is none."""
        found = self.records.reports(f"{_ROWS[what]} and number = ?", number)
        return next(found, None)

    @cached_property
    def all_reports(self) -> tuple[RecordedReport, ...]:
        """The reports that count or once did; not those of a rescoring that was never ended."""
        return tuple(self.each("all_reports"))

    @cached_property
    def reports(self) -> tuple[RecordedReport, ...]:
        """The reports that count: those not retracted, and in whose place no other one is."""
        counting = self.counting_at(self.entries)
        return tuple(entry for entry in self.all_reports if entry.number in counting)

    def counting_at(self, number: int) -> frozenset[int]:
        """The numbers of the reports that counted when the ledger ended in the entry `number`."""
        condition = "since <= ?1 and (gone is null or gone > ?1)"
        return frozenset(row.number for row in self.records.index.find(condition, number))

    def signer_after(self, entries: int) -> SSlibKey:
        """The key that signed next when the ledger had so many entries."""
        rotations = self.records.index.count("kind = 'rotation' and number < ?", entries)
        return self.signers[rotations]

    @property
    def successors(self) -> dict[int, int]:
        """By the number of a report's entry, that of the one that took its place."""
        rows = self.records.index.find("since is not null and replaces is not null")
        return {row.replaces: row.number for row in rows if row.replaces is not None}

    @property
    def pending(self) -> frozenset[int]:
        """Entries of reports that were scored anew, and do not count: nothing names them yet."""
        return frozenset(row.number for row in self.records.index.find(_ROWS["pending"]))

    @property
    def retractions(self) -> tuple[RecordedRetraction, ...]:
        """The retractions, each with the report it retracts."""
        found = self.records.find(_ROWS["retractions"])
        return tuple(entry for entry in found if isinstance(entry, RecordedRetraction))

    @property
    def rescorings(self) -> tuple[RecordedRescoring, ...]:
        """The rescorings, the newest last."""
        found = self.records.find(_ROWS["rescorings"])
        return tuple(entry for entry in found if isinstance(entry, RecordedRescoring))

    @property
    def left(self) -> frozenset[Digest]:
        """Entries of reports that the newest rescorings left as they were, by name."""
        return frozenset(digest for entry in self.rescorings for digest in entry.body.left)

    @property
    def rankings(self) -> tuple[RecordedRanking, ...]:
        """All rankings, the newest last."""
        found = self.records.find("kind = 'ranking'")
        return tuple(entry for entry in found if isinstance(entry, RecordedRanking))


@dataclass(frozen=True)
class NamedReports(Mapping[str, Report]):
    """The reports of a ledger that count, by the names of their entries; each read in its turn."""

    verdict: LedgerVerdict

    def __getitem__(self, name: str) -> Report:
        number = name.removeprefix(_ENTRY)
        found = self.verdict.report(int(number), "reports") if number.isdecimal() else None
        if found is None or name != f"{_ENTRY}{found.number}":
            raise KeyError(name)
        return found.report

    def __iter__(self) -> Iterator[str]:
        return (f"{_ENTRY}{entry.number}" for entry in self.verdict.each("reports"))

    def __len__(self) -> int:
        return self.verdict.count("reports")
