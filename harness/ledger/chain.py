"""How does a report get into the ledger, whatever happens meanwhile?

One lock on the file, one write of whole lines, one fsync. A process killed in the middle leaves at
most a last line without its newline; the next append sets those bytes aside as `<ledger>.torn-<n>`.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from itertools import count
from pathlib import Path

from securesystemslib.signer import SSlibKey

from evaluator.contract import Digest
from evaluator.errors import BusbenchError
from evaluator.files import disk_errors, write_atomically
from harness.ledger.attestation import CODE, SignedReport, open_report
from harness.ledger.entries import (
    LedgerVerdict,
    RecordedReport,
    genesis_line,
    report_line,
    verify_bytes,
)
from harness.sealing.keys import Keys

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Appended:
    """What an append did."""

    entry: RecordedReport
    new: bool  # false where the ledger held this very report already
    torn: Path | None  # where a half-written entry of a killed run was set aside


def append(ledger: Path, signed: SignedReport, keys: Keys) -> Appended:
    """Append a signed report, making the ledger where there is none yet.

    Safe under concurrent writers and a kill at any moment. The same report is recorded once,
    however often it is appended.

    Raises:
        BusbenchError: `ledger-invalid` where the ledger does not hold, belongs to another key,
            or the report is not signed by `keys`; `disk-full` where the disk refuses.
    """
    report = open_report(signed, keys.report, "the new report")
    with _locked(ledger) as handle:
        data, torn = _whole_lines(handle, ledger)
        if not data:
            data = genesis_line(keys)
            _write(handle, data)
            _sync_folder(ledger.parent)
        before = verify_bytes(data, str(ledger), keys.report)
        for entry in before.reports:
            if entry.payload_sha256 == signed.payload_sha256:
                return Appended(entry, new=False, torn=torn)
        line, digest = report_line(signed, before.entries, before.head, keys)
        _write(handle, line)
    entry = RecordedReport(before.entries, digest, signed.payload_sha256, report)
    return Appended(entry, new=True, torn=torn)


def verify_ledger(
    path: Path, key: SSlibKey | None = None, holds: Digest | None = None
) -> LedgerVerdict:
    """Read a ledger, the only way there is: with everything about it checked.

    Args:
        key: the key that must have signed it; without one, the ledger's own genesis is believed.
        holds: the digest of an entry that must be there, written down at an earlier time.

    Raises:
        BusbenchError: `ledger-invalid`, naming the first entry that does not hold.
    """
    try:
        with path.open("rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH)  # not while an append is half done
            data = handle.read()
    except OSError as error:
        remedy = "Name the ledger that `busbench evaluate --ledger` wrote."
        raise BusbenchError(CODE, f"{path} cannot be read ({error.strerror}).", remedy) from error
    return verify_bytes(data, str(path), key, holds)


@contextmanager
def _locked(path: Path) -> Iterator[FileIO]:
    """The file at `path`, made if need be, for this process alone."""
    if path.is_dir():
        raise BusbenchError(CODE, f"{path} is a folder.", "Name a file for the ledger.")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        with os.fdopen(descriptor, "r+b", buffering=0) as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield handle


def _whole_lines(handle: FileIO, ledger: Path) -> tuple[bytes, Path | None]:
    """The ledger's bytes up to its last newline, and where anything behind it was set aside."""
    data = handle.read()
    whole = data.rfind(b"\n") + 1
    if whole == len(data):
        return data, None
    names = (ledger.with_name(f"{ledger.name}.torn-{n}") for n in count(1))
    torn = next(path for path in names if not path.exists())
    write_atomically(torn, data[whole:])
    handle.truncate(whole)
    log.warning("%s ended in a half-written entry, which was set aside as %s.", ledger, torn)
    return data[:whole], torn


def _write(handle: FileIO, data: bytes) -> None:
    """Add `data` at the end and see it to the disk; where that fails, leave nothing of it."""
    end = handle.seek(0, os.SEEK_END)
    left = memoryview(data)
    try:
        while left:
            left = left[handle.write(left) :]
        os.fsync(handle.fileno())
    except OSError:
        handle.truncate(end)
        raise


def _sync_folder(folder: Path) -> None:
    """See a new file's name to the disk, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
