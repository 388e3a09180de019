"""Verdict on a ledger: its state, and its entries as others read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from pydantic import JsonValue
from securesystemslib.signer import SSlibKey

from evaluator.documents.base import Digest
from harness.ledger.attestation import invalid
from harness.ledger.entries import Instant, Rescoring
from harness.ledger.report import Report


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
    load: Callable[[], Report] = field(compare=False, repr=False)  # raises `ledger-invalid`
    replaces: int | None = None  # number of the report whose place it took, scored anew
    origin: int | None = None  # number of the first report of that place

    @property
    def place(self) -> int:
        """By what a team's results are put in order: scoring one anew makes it no later one."""
        return self.number if self.origin is None else self.origin

    @cached_property
    def report(self) -> Report:
        """The report, read when it is first asked for: those of a long ledger fill the memory."""
        return self.load()


@dataclass(frozen=True)
class RecordedRetraction(Recorded):
    """A report that no longer counts, and why."""

    retracted: RecordedReport
    reason: str


@dataclass(frozen=True)
class RecordedRescoring(Recorded):
    """The entry by which reports that were scored anew count."""

    pairs: tuple[tuple[int, int], ...]  # numbers of the entries before and after
    body: Rescoring


@dataclass(frozen=True)
class RecordedRanking(Recorded):
    """The ranking of a track in the ledger."""

    body: dict[str, JsonValue]


@dataclass(frozen=True)
class RecordedRotation(Recorded):
    """A change of the organiser's key."""

    key: Digest  # fingerprint of the key that signs all later entries


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
    """A ledger in which everything was verified."""

    pinned: bool  # whether one of the keys was named from outside, or all taken from the ledger
    recorded: tuple[Recorded, ...]  # all but the genesis, in order

    def signer_after(self, entries: int) -> SSlibKey:
        """The key that signed next when the ledger had so many entries."""
        rotations = [entry for entry in self.recorded if isinstance(entry, RecordedRotation)]
        return self.signers[sum(entry.number < entries for entry in rotations)]

    @property
    def retractions(self) -> tuple[RecordedRetraction, ...]:
        """The retractions, each with the report it retracts."""
        return tuple(entry for entry in self.recorded if isinstance(entry, RecordedRetraction))

    @property
    def rescorings(self) -> tuple[RecordedRescoring, ...]:
        """The rescorings, the newest last."""
        return tuple(entry for entry in self.recorded if isinstance(entry, RecordedRescoring))

    @cached_property
    def successors(self) -> dict[int, int]:
        """By the number of a report's entry, that of the one that took its place."""
        return dict(pair for entry in self.rescorings for pair in entry.pairs)

    @property
    def all_reports(self) -> tuple[RecordedReport, ...]:
        """The reports that count or once did; not those of a rescoring that was never ended."""
        ended = {*self.successors.values()}
        return tuple(
            entry
            for entry in self.recorded
            if isinstance(entry, RecordedReport)
            and (entry.replaces is None or entry.number in ended)
        )

    @property
    def pending(self) -> frozenset[int]:
        """Entries of reports that were scored anew, and do not count: nothing names them yet."""
        counted = {entry.number for entry in self.all_reports}
        reports = (entry.number for entry in self.recorded if isinstance(entry, RecordedReport))
        return frozenset(reports) - counted

    @property
    def reports(self) -> tuple[RecordedReport, ...]:
        """The reports that count: those not retracted, and in whose place no other one is."""
        gone = {entry.retracted.number for entry in self.retractions} | self.successors.keys()
        return tuple(entry for entry in self.all_reports if entry.number not in gone)

    @property
    def left(self) -> frozenset[Digest]:
        """Entries of reports that the newest rescorings left as they were, by name."""
        return frozenset(digest for entry in self.rescorings for digest in entry.body.left)

    @property
    def rankings(self) -> tuple[RecordedRanking, ...]:
        """All rankings, the newest last."""
        return tuple(entry for entry in self.recorded if isinstance(entry, RecordedRanking))
