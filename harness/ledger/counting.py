"""Counting reports: what retractions, reports that were scored anew and rescorings change.

A report that was scored anew has no effect until a rescoring names it, in the place of the report
that it was made of; it may differ from that in nothing but its scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from evaluator.documents.base import Digest
from evaluator.documents.reading import load_json
from harness.ledger.attestation import SIGNED, invalid, stated_report
from harness.ledger.entries import RescoredEntry
from harness.ledger.examination import Examined
from harness.ledger.index import Index, Row
from harness.ledger.report import Report


@dataclass(frozen=True)
class Counting:
    """The reports of a ledger's lines so far, in its index.

    Args:
        report: gives that of an entry that was verified.
        at: the next entry, for errors.
    """

    index: Index
    report: Callable[[Row], Report]
    at: str

    def take(self, one: Examined, line: bytes) -> tuple[int | None, int | None]:
        """Follow one more entry.

        Returns:
            Of a report that was scored anew, the number of that which it replaces, and of the
            first one of that place.

        Raises:
            BusbenchError: `ledger-invalid` where it names what does not count, or what was not made
                for it.
        """
        if one.retracts is not None:
            self.index.retract(self._counting(one.retracts, "retracts").number, one.number)
        elif one.replaces is not None:
            before = self._counting(one.replaces, "replaces")
            self._require_same_origin(before, line)
            return before.number, before.origin or before.number
        elif one.kind == "rescoring":
            self._replace(one)
        return None, None

    def _counting(self, digest: Digest, does: str) -> Row:
        counts = "digest = ? and since is not null and gone is null"
        report = self.index.last(counts, digest)
        if report is None:
            raise invalid(self.at, f"it {does} {digest}, which is no report that counts")
        return report

    def _require_same_origin(self, before: Row, line: bytes) -> None:
        entry = RescoredEntry.model_validate(load_json(line, SIGNED))
        new = stated_report(entry.envelope, self.at)
        if new.origin() != self.report(before).origin():
            why = f"it says something else of what was scored than entry {before.number}"
            raise invalid(self.at, why)

    def _replace(self, one: Examined) -> None:
        if both := {*one.left} & {before for before, _ in one.replaced}:
            raise invalid(self.at, f"it replaces {min(both)} and leaves it as it was, too")
        for digest in one.left:
            self._counting(digest, "leaves")
        for before, after in one.replaced:
            number = self._counting(before, "replaces").number
            row = self.index.last("digest = ? and kind = 'rescored' and since is null", after)
            if row is None or row.replaces != number:
                raise invalid(self.at, f"it replaces entry {number} by what was not made of it")
            self.index.retract(number, one.number)
            self.index.count_from(row.number, one.number)
