"""The ledger: signed reports, and what became of them, in an append-only chain anyone can verify.

`sign` a report, `append` it; `verify_ledger` is the only way to read it back.
"""

from harness.ledger.attestation import SignedReport, is_report, sign, verify_report, write_report
from harness.ledger.chain import Appended, append, rotate, verify_ledger
from harness.ledger.entries import Instant, Ranking, Retraction
from harness.ledger.verdict import (
    LedgerVerdict,
    Recorded,
    RecordedRanking,
    RecordedReport,
    RecordedRetraction,
    RecordedRotation,
    verify_bytes,
)

__all__ = [
    "Appended",
    "Instant",
    "LedgerVerdict",
    "Ranking",
    "Recorded",
    "RecordedRanking",
    "RecordedReport",
    "RecordedRetraction",
    "RecordedRotation",
    "Retraction",
    "SignedReport",
    "append",
    "is_report",
    "rotate",
    "sign",
    "verify_bytes",
    "verify_ledger",
    "verify_report",
    "write_report",
]
