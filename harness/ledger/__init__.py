"""The ledger: signed reports in an append-only chain that anyone can verify.

`sign` a report, `append` it; `verify_ledger` is the only way to read it back.
"""

from harness.ledger.attestation import SignedReport, is_report, sign, verify_report, write_report
from harness.ledger.chain import Appended, append, verify_ledger
from harness.ledger.entries import LedgerVerdict, RecordedReport, verify_bytes

__all__ = [
    "Appended",
    "LedgerVerdict",
    "RecordedReport",
    "SignedReport",
    "append",
    "is_report",
    "sign",
    "verify_bytes",
    "verify_ledger",
    "verify_report",
    "write_report",
]
