"""Appending to the ledger, safe under concurrent writers and a kill at any moment.

One lock on the file, one write of whole lines, one fsync. A process killed in the middle leaves at
most a last line without its newline; the next append sets those bytes aside as `<ledger>.torn-<n>`.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from io import FileIO
from itertools import count
from pathlib import Path

from securesystemslib.signer import SSlibKey

from evaluator.documents.base import Digest
from evaluator.errors import BusbenchError
from evaluator.files import disk_errors, write_atomically
from harness.ledger.attestation import CODE, SignedReport, open_report
from harness.ledger.entries import (
    Body,
    Instant,
    Position,
    Ranking,
    Reported,
    Rescored,
    Rescoring,
    Retraction,
    entry_line,
    genesis_line,
    is_ahead,
    rotation_line,
)
from harness.ledger.examination import (
    same_ranking,
    same_report,
    same_rescored,
    same_rescoring,
    same_retraction,
)
from harness.ledger.following import Follower, following
from harness.ledger.recorded import (
    Recorded,
    RecordedReport,
    RecordedRescoring,
    RecordedRetraction,
)
from harness.ledger.report import Report
from harness.ledger.verdict import LedgerState, LedgerVerdict
from harness.sealing.keys import Keys, public_pem

log = logging.getLogger(__name__)


WRONG_CLOCK = (
    "Set the clock right; if the entry is what is wrong, go on from a backup that lacks it, and"
    " publish that with --replaces."
)
Find = Callable[[Follower], Recorded | None]
Write = Callable[[Position], bytes]
Clock = Callable[[], Instant]
SEARCHED = 65536  # bytes at a time, for the last newline


def utc_now() -> Instant:
    """The time by this machine's clock."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Appended:
    """What an append did."""

    entry: Recorded
    new: bool  # false where the ledger had this very body already
    torn: Path | None  # where a half-written entry of a killed run was set aside


def append(
    ledger: Path,
    body: SignedReport | Rescored | Rescoring | Retraction | Ranking,
    keys: Keys,
    *,
    clock: Clock = utc_now,
) -> Appended:
    """Append a signed report or another body, making the ledger where there is none.

    Safe under concurrent writers and a kill at any moment. The same body is recorded once, however
    often it is appended: the report of the same evaluation at all, the same retraction or rescoring
    at all, the same ranking unless another came in between. The entry says when it was recorded: by
    `clock`, but never earlier than the entry before it.

    Raises:
        BusbenchError: `ledger-invalid` where the ledger is not valid, is signed by another key
            now, the report is not signed by `keys`, or the body names no report that counts;
            `disk-full` where the disk refuses.
    """
    entry: Body
    find: Find
    if isinstance(body, SignedReport):
        report = open_report(body, (keys.report,), "the new report")
        entry, find = Reported(envelope=body), partial(_same_report, report=report)
    elif isinstance(body, Rescored):
        report = open_report(body.envelope, (keys.report,), "the new report")
        same = same_rescored(body.replaces, report)
        entry, find = body, partial(_first, kind="rescored", same=same)
    else:
        entry, find = body, partial(_same, body=body)
    return _record(
        ledger, keys, find, write=lambda place: entry_line(entry, place, keys), clock=clock
    )


def rotate(ledger: Path, keys: Keys, new: Keys, *, clock: Clock = utc_now) -> Appended:
    """Hand the ledger over to `new`, which signs all later entries; doing it again changes nothing.

    Raises:
        BusbenchError: as `append` does; also where `new` signed the ledger at an earlier time.
    """

    def find(before: Follower) -> Recorded | None:
        last = before.last_of("rotation")
        return before.records.make(last) if last and before.state.key == new.report.keyid else None

    return _record(
        ledger, keys, find, write=lambda place: rotation_line(new, place, keys), clock=clock
    )


def _same_report(before: Follower, report: Report) -> Recorded | None:
    """The entry whose report is of the same evaluation, however long that took each time."""
    near = before.entries("report", same_report(report))
    reports = (entry for entry in near if isinstance(entry, RecordedReport))
    return next((entry for entry in reports if entry.report.identity() == report.identity()), None)


def _first(before: Follower, kind: str, same: Digest) -> Recorded | None:
    return next(before.entries(kind, same), None)


def _same(before: Follower, body: Rescoring | Retraction | Ranking) -> Recorded | None:
    """The entry that records `body` already."""
    match body:
        case Rescoring(pairs=pairs):
            return _first(before, "rescoring", same_rescoring(pairs))
        case Retraction(entry=digest, reason=reason):
            return _first(before, "retraction", same_retraction(digest, reason))
        case Ranking(body=table):
            last = before.last_of("ranking")
            return before.records.make(last) if last and last.same == same_ranking(table) else None


def _record(ledger: Path, keys: Keys, find: Find, *, write: Write, clock: Clock) -> Appended:
    """Add the line that `write` makes, unless `find` finds its entry.

    A line that would not verify in its place is never written.
    """
    with _locked(ledger) as handle:
        size, torn = _set_torn_aside(handle, ledger)
        if not size:
            size = _write(handle, genesis_line(clock(), keys))
            _sync_folder(ledger.parent)
        with following(ledger, handle.fileno(), size) as follower:
            before = follower.state
            before.require_signer(keys.report.keyid, str(ledger))
            if (entry := find(follower)) is not None:
                _warn_of_its_end(entry, follower, ledger)
                return Appended(entry, new=False, torn=torn)
            now = clock()
            _require_writable(before, keys, now, ledger=ledger)
            time = _not_before(before.time, now, ledger)
            line = write(Position(before.entries, before.head, time))
            entry = follower.add(line)
            _write(handle, line)
            follower.save(handle.fileno())
    return Appended(entry, new=True, torn=torn)


def require_writable(ledger: Path, keys: Keys, *, clock: Clock = utc_now) -> None:
    """Refuse, before anything is run for it, a ledger that would take no entry by `keys` now.

    Raises:
        BusbenchError: `ledger-invalid`; see `append`.
    """
    before = _so_far(ledger)
    if before is not None:
        _require_writable(before, keys, clock(), ledger=ledger)


def _so_far(ledger: Path) -> LedgerState | None:
    """What the ledger's whole entries amount to, verified; None where there is none yet."""
    if not ledger.exists():
        return None
    with _shared(ledger) as handle:
        size = _whole(handle)  # the next append sets aside what is half-written
        if not size:
            return None
        with following(ledger, handle.fileno(), size) as follower:
            return follower.state


def _require_writable(before: LedgerState, keys: Keys, now: Instant, *, ledger: Path) -> None:
    before.require_signer(keys.report.keyid, str(ledger))
    if keys.report.keyid != before.key:
        message = f"{ledger} was handed over to another key ({before.key[:16]}…)."
        raise BusbenchError(CODE, message, "Name the key folder that signs it now.")
    if is_ahead(before.time, now):
        message = f"The last entry of {ledger} is of {before.time}, and the clock says {now}."
        raise BusbenchError(CODE, message, WRONG_CLOCK)


def _warn_of_its_end(entry: Recorded, before: Follower, ledger: Path) -> None:
    gone = before.end_of(entry)
    if isinstance(gone, RecordedRescoring):
        words = "The result is entry %s of %s, which was scored anew: see entry %s."
        log.warning(words, entry.number, ledger, gone.number)
    if isinstance(gone, RecordedRetraction):
        said = (entry.number, ledger, gone.number, gone.reason)
        log.warning("The result is entry %s of %s, which entry %s retracts: %s", *said)


def _not_before(last: Instant, now: Instant, ledger: Path) -> Instant:
    """The time to record now; a clock that was set back a little loses no result."""
    if now < last:
        log.warning("The clock says %s, before the last entry of %s (%s).", now, ledger, last)
    return max(now, last)


def verify_ledger(
    path: Path, key: SSlibKey | None = None, holds: Digest | None = None, *, anew: bool = False
) -> LedgerVerdict:
    """The verdict on a ledger's file, with everything about it checked.

    What this machine verified before, and has not changed since, is not verified again.

    Args:
        key: the key that must have signed it; without one, the ledger's own genesis is believed.
        holds: the digest of an entry that must be there, written down at an earlier time.
        anew: verify all of it, whatever was verified before.

    Raises:
        BusbenchError: `ledger-invalid`, naming the first entry that is not valid.
    """
    with _shared(path) as handle:
        size = handle.seek(0, os.SEEK_END)
        with following(path, handle.fileno(), size, anew=anew) as follower:
            return follower.verdict(key, holds)


def read_ledger(path: Path) -> bytes:
    """A ledger's bytes, which are worth nothing until `verify_bytes` has checked them.

    Raises:
        BusbenchError: `ledger-invalid` where it cannot be read.
    """
    with _shared(path) as handle:
        return handle.read()


@contextmanager
def _shared(path: Path) -> Iterator[FileIO]:
    """The file at `path`, to read: no append is half done meanwhile."""
    try:
        with path.open("rb", buffering=0) as handle:
            fcntl.flock(handle, fcntl.LOCK_SH)
            yield handle
    except OSError as error:
        remedy = "Name the ledger that `busbench evaluate --ledger` wrote."
        raise BusbenchError(CODE, f"{path} cannot be read ({error.strerror}).", remedy) from error


def known_keys(ledger: Path | None) -> tuple[str, ...]:
    """The keys that sign or signed a ledger, as PEM; none where there is no ledger yet.

    Raises:
        BusbenchError: `ledger-invalid` where it is not valid.
    """
    before = None if ledger is None else _so_far(ledger)
    return () if before is None else tuple(map(public_pem, before.signers))


@contextmanager
def _locked(path: Path) -> Iterator[FileIO]:
    """The file at `path`, made if need be, for this process alone."""
    if path.is_dir():
        raise BusbenchError(CODE, f"{path} is a folder.", "Name a file for the ledger.")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+b", buffering=0) as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield handle


def _whole(handle: FileIO) -> int:
    """Bytes of the ledger up to its last newline."""
    end = handle.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - SEARCHED)
        handle.seek(start)
        found = handle.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _set_torn_aside(handle: FileIO, ledger: Path) -> tuple[int, Path | None]:
    """Bytes of the ledger up to its last newline, and where anything behind it was set aside."""
    whole = _whole(handle)
    handle.seek(whole)
    rest = handle.read()
    if not rest:
        return whole, None
    names = (ledger.with_name(f"{ledger.name}.torn-{n}") for n in count(1))
    torn = next(path for path in names if not path.exists())
    write_atomically(torn, rest, mode=0o600)
    handle.truncate(whole)
    log.warning("%s ended in a half-written entry, which was set aside as %s.", ledger, torn)
    return whole, torn


def _write(handle: FileIO, data: bytes) -> int:
    """Add `data` at the end and see it to the disk; where that fails, leave nothing of it.

    Returns:
        Bytes of the file.
    """
    end = handle.seek(0, os.SEEK_END)
    left = memoryview(data)
    try:
        while left:
            left = left[handle.write(left) :]
        os.fsync(handle.fileno())
    except OSError:
        handle.truncate(end)
        raise
    return end + len(data)


def _sync_folder(folder: Path) -> None:
    """See a new file's name to the disk, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
