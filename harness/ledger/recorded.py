"""Entries as the ledger vouches for them: made of its index and its lines when they are asked for.

An index says what an entry is and where its line begins; the rest is read from the ledger, and
compared with the digest that was verified. So a ledger takes the same memory however long it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from hashlib import sha256
from typing import Any, TypeAlias

from pydantic import JsonValue

from evaluator.documents.base import Digest
from evaluator.documents.reading import load_json
from harness.ledger.attestation import SIGNED, invalid, stated_report
from harness.ledger.entries import (
    Instant,
    ReportEntry,
    RescoredEntry,
    Rescoring,
    signed_part,
)
from harness.ledger.index import Index, Row
from harness.ledger.report import Report
from harness.sealing.keys import parse_public_key

Read: TypeAlias = Callable[[int, int], bytes]  # the bytes from, and up to before


@dataclass(frozen=True)
class Recorded:
    """An entry as the ledger vouches for it."""

    number: int
    digest: Digest  # of its entry
    time: Instant  # at which it was recorded


@dataclass(frozen=True)
class RecordedReport(Recorded):
    """A report in the ledger."""

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
class Records:
    """The entries of a verified ledger.

    Args:
        where: the ledger's name, for errors.
        read: gives its bytes at any time, but perhaps others by then, which is noticed.
        index: what is known of each entry.
    """

    where: str
    read: Read
    index: Index

    def find(self, condition: str, *values: object) -> Iterator[Recorded]:
        """The entries whose rows fulfil a condition of SQL, in order, each made in its turn.

        Raises:
            BusbenchError: `ledger-invalid` where one was changed meanwhile.
        """
        return map(self.make, self.index.find(condition, *values))

    def reports(self, condition: str, *values: object) -> Iterator[RecordedReport]:
        """The same of rows that are reports."""
        return map(self._report, self.index.find(condition, *values))

    def make(self, row: Row, line: bytes | None = None) -> Recorded:
        """The entry of a row; `line`, with its newline, where `read` cannot give it yet."""
        if row.is_report:
            return self._report(row)
        fields = load_json(self._line(row) if line is None else line[:-1], SIGNED)
        return _MAKERS[row.kind](self, row, fields)

    def load(self, row: Row) -> Report:
        """The report of a row."""
        kind = RescoredEntry if row.kind == "rescored" else ReportEntry
        entry = kind.model_validate(load_json(self._line(row), SIGNED))
        return stated_report(entry.envelope, f"{self.where}: entry {row.number}")

    def _line(self, row: Row) -> bytes:
        """The line of a row, without its newline."""
        try:
            line = self.read(row.start, row.stop)[:-1]
            same = sha256(signed_part(line)).hexdigest() == row.digest
        except (OSError, ValueError, AttributeError):
            same = False
        if not same:
            raise invalid(self.where, f"entry {row.number} was changed while it was read")
        return line

    def _report(self, row: Row) -> RecordedReport:
        return RecordedReport(*row.place, partial(self.load, row), row.replaces, row.origin)

    def _row(self, digest: Digest) -> Row:
        row = self.index.last("digest = ?", digest)
        assert row is not None  # it was looked for when the entry that names it was verified
        return row

    def _retraction(self, row: Row, fields: dict[str, Any]) -> RecordedRetraction:
        retracted = self._report(self._row(fields["entry"]))
        return RecordedRetraction(*row.place, retracted, fields["reason"])

    def _rescoring(self, row: Row, fields: dict[str, Any]) -> RecordedRescoring:
        names = fields.keys() & Rescoring.model_fields.keys()
        body = Rescoring.model_validate({name: fields[name] for name in names})
        pairs = ((self._row(old).number, self._row(new).number) for old, new in body.pairs)
        return RecordedRescoring(*row.place, tuple(pairs), body)

    def _ranking(self, row: Row, fields: dict[str, Any]) -> RecordedRanking:
        return RecordedRanking(*row.place, fields["body"])

    def _rotation(self, row: Row, fields: dict[str, Any]) -> RecordedRotation:
        return RecordedRotation(*row.place, parse_public_key(fields["public_key"]).keyid)


_MAKERS: dict[str, Callable[[Records, Row, dict[str, Any]], Recorded]] = {
    "retraction": Records._retraction,
    "rescoring": Records._rescoring,
    "ranking": Records._ranking,
    "rotation": Records._rotation,
}
