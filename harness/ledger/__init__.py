"""The ledger: signed reports, and what became of them, in an append-only chain anyone can verify.

`sign` a report, `append` it; `verify_ledger` is the only way to read it back.
"""

from harness.ledger.attestation import SignedReport, is_report, sign, verify_report, write_report
from harness.ledger.chain import (
    Appended,
    append,
    known_keys,
    read_ledger,
    require_writable,
    rotate,
    utc_now,
    verify_ledger,
)
from harness.ledger.checkpoint import (
    Witnessed,
    find_checkpoints,
    read_note,
    require_witnessed,
    sign_checkpoint,
    write_checkpoint,
)
from harness.ledger.entries import (
    Instant,
    Ranking,
    Replacement,
    Rescored,
    Rescoring,
    Retraction,
    is_ahead,
)
from harness.ledger.following import verify_bytes
from harness.ledger.recorded import (
    Recorded,
    RecordedRanking,
    RecordedReport,
    RecordedRescoring,
    RecordedRetraction,
    RecordedRotation,
)
from harness.ledger.verdict import LedgerVerdict, NamedReports

__all__ = [
    "Appended",
    "Instant",
    "LedgerVerdict",
    "NamedReports",
    "Ranking",
    "Recorded",
    "RecordedRanking",
    "RecordedReport",
    "RecordedRescoring",
    "RecordedRetraction",
    "RecordedRotation",
    "Replacement",
    "Rescored",
    "Rescoring",
    "Retraction",
    "SignedReport",
    "Witnessed",
    "append",
    "find_checkpoints",
    "is_ahead",
    "is_report",
    "known_keys",
    "read_ledger",
    "read_note",
    "require_witnessed",
    "require_writable",
    "rotate",
    "sign",
    "sign_checkpoint",
    "utc_now",
    "verify_bytes",
    "verify_ledger",
    "verify_report",
    "write_checkpoint",
    "write_report",
]
