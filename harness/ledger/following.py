"""Following a ledger entry by entry: each is checked against what the earlier ones established.

That is the digest before, the key that signs now, the reports that count. All of it is in an index,
so that a ledger that was verified before is followed from where that ended, if its bytes up to
there are still the same: either the file was not touched since (device, inode, size, times), or the
running digest over its lines is the same. Else the index is cleared, and everything verified.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

from securesystemslib.signer import SSlibKey

from evaluator.documents.base import Digest
from evaluator.documents.reading import MEBIBYTE
from evaluator.errors import BusbenchError
from evaluator.files import rfc8785_json
from harness.ledger.attestation import (
    CODE,
    REMEDY,
    check_signature,
    invalid,
    parse_canonical,
)
from harness.ledger.counting import Counting
from harness.ledger.entries import (
    NOTHING_BEFORE,
    ROTATION_TYPE,
    RotationEntry,
    signed_part,
)
from harness.ledger.examination import Batch, Examined, examine
from harness.ledger.index import Index, Row, State
from harness.ledger.recorded import Read, Recorded, Records
from harness.ledger.verdict import LedgerState, LedgerVerdict
from harness.sealing.keys import parse_public_key, public_pem

TORN = "it ends in a half-written entry, which the next append sets aside"
BLOCK = 2 * MEBIBYTE
LONG = MEBIBYTE // 4  # bytes from which on an index is kept: less takes no time
TICK = 0.02  # seconds: two changes within one tick of a file system's clock have the same time


@dataclass
class Follower:
    """Follows a ledger line by line; each must be valid in its place.

    Args:
        where: the ledger's name, for errors.
        read: gives its bytes now.
        later: gives them at any time, but perhaps others by then, which is noticed.
        index: what is known of it already, and takes what is found.
    """

    where: str
    read: Read
    later: Read
    index: Index
    signers: list[SSlibKey] = field(default_factory=list)
    stop: int = 0  # bytes that were verified
    prefix: bytes = b""  # of the lines so far: SHA-256 over that of the lines before, and the line
    last: Row | None = None

    def resume(self, stamp: tuple[int, ...], size: int) -> bool:
        """Go on from the index where it is of this very file; else clear it.

        Returns:
            Whether the index knows the file as it is now.
        """
        state, last = self.index.state(), self.index.last()
        if state and last and last.stop == state.stop <= size:
            prefix = bytes.fromhex(state.prefix)
            if stamp == state.stamp or prefix == self._prefix_of(state.stop):
                self.signers = [parse_public_key(pem) for pem in state.public_keys]
                self.stop, self.prefix, self.last = state.stop, prefix, last
                return state.stop == size and stamp == state.stamp
        self.index.clear()
        return False

    def follow(self, size: int) -> None:
        """Verify everything from where it is to `size`.

        Raises:
            BusbenchError: `ledger-invalid`, naming the first entry that fails.
        """
        if not size:
            raise invalid(self.where, "it is empty")
        if self.read(size - 1, size) != b"\n":
            raise invalid(self.where, TORN)
        batches, left = self._batches(self.stop, size), size - self.stop
        examined = examine(batches, self.where, self._pems, first=self._number, size=left)
        for line, one in examined:
            self._take(line, one)

    def add(self, line: bytes) -> Recorded:
        """Verify one more line, with its newline, that `read` cannot give yet."""
        alone = [[line[:-1]]]
        ((text, one),) = examine(alone, self.where, self._pems, first=self._number, size=0)
        return self.records.make(self._take(text, one), line)

    def save(self, descriptor: int) -> None:
        """Keep in the index, where there is one, how far the open file is verified."""
        if not self.index.kept:
            return
        self.index.save(State(self.stop, self.prefix.hex(), self._pems, _stamp(descriptor)))
        left = TICK - (time.time() - os.fstat(descriptor).st_ctime)
        if 0 < left <= TICK:
            time.sleep(left)  # a change by whoever has the lock next leaves another stamp

    @property
    def state(self) -> LedgerState:
        """What the lines so far amount to, but for the entries."""
        last = self._end
        return LedgerState(tuple(self.signers), last.digest, last.number + 1, last.time)

    def verdict(self, key: SSlibKey | None, holds: Digest | None) -> LedgerVerdict:
        """What the lines so far amount to; see `verify_bytes`."""
        state = self.state
        if key is not None:
            state.require_signer(key.keyid, self.where)
        if holds is not None and self.index.last("digest = ?", holds) is None:
            raise invalid(self.where, f"it has no entry with the digest {holds}")
        records = replace(self.records, index=self.index.copy())
        return LedgerVerdict(**vars(state), pinned=key is not None, records=records)

    @property
    def records(self) -> Records:
        """The entries so far."""
        return Records(self.where, self.later, self.index)

    def entries(self, kind: str, same: Digest) -> Iterator[Recorded]:
        """The entries of a kind that say, or may say, the same."""
        return self.records.find("kind = ? and same = ?", kind, same)

    def last_of(self, kind: str) -> Row | None:
        """The last entry of a kind."""
        return self.index.last("kind = ?", kind)

    def end_of(self, entry: Recorded) -> Recorded | None:
        """The entry since which a report does not count: a retraction, or a rescoring."""
        row = self.index.last("number = (select gone from entries where number = ?)", entry.number)
        return None if row is None else self.records.make(row)

    @property
    def _pems(self) -> tuple[str, ...]:
        return tuple(map(public_pem, self.signers))

    @property
    def _number(self) -> int:
        return 0 if self.last is None else self.last.number + 1

    @property
    def _end(self) -> Row:
        assert self.last is not None  # nothing is asked of a follower before it followed
        return self.last

    def _batches(self, start: int, stop: int) -> Iterator[Batch]:
        """The lines of these bytes, in batches of about a block."""
        rest = b""
        for at in range(start, stop, BLOCK):
            *lines, rest = (rest + self.read(at, min(at + BLOCK, stop))).split(b"\n")
            if lines:
                yield lines
        if rest:
            yield [rest]

    def _prefix_of(self, stop: int) -> bytes:
        prefix = b""
        for batch in self._batches(0, stop):
            for line in batch:
                prefix = _longer(prefix, line)
        return prefix

    def _take(self, line: bytes, one: Examined) -> Row:
        at = f"{self.where}: entry {self._number}"
        if one.public_key is not None and self.last is None:
            self._take_key(one.public_key, at)
        self._check_place(one, at)
        stop = self.stop + len(line) + 1
        replaces, origin = self._check_body(one, line, at)
        row = Row(
            *(one.number, one.kind, one.digest, one.time, self.stop, stop),
            *(sha256(b"\x00" + line).digest(), one.same),
            since=one.number if one.kind == "report" else None,
            replaces=replaces,
            origin=origin,
        )
        self.index.add(row)
        self.stop, self.prefix, self.last = stop, _longer(self.prefix, line), row
        return row

    def _check_place(self, one: Examined, at: str) -> None:
        previous = NOTHING_BEFORE if self.last is None else self.last.digest
        if one.number != self._number or one.previous != previous:
            raise invalid(at, "it does not follow the entry before it")
        if self.last is not None and one.time < self.last.time:
            raise invalid(at, "it says that it was recorded before the entry before it")
        if one.keyid != self.signers[-1].keyid:
            raise invalid(at, f"it is signed by another key ({one.keyid[:16]}…)")
        if one.fault is not None:
            raise BusbenchError(CODE, one.fault, REMEDY)

    def _check_body(self, one: Examined, line: bytes, at: str) -> tuple[int | None, int | None]:
        report = Records(self.where, self.read, self.index).load
        if one.kind == "rotation" and one.public_key is not None:
            self._take_key(one.public_key, at)
            entry = parse_canonical(RotationEntry, line, at, form=rfc8785_json)
            unsigned = signed_part(line, "countersignature")
            new, signature = self.signers[-1], entry.countersignature
            check_signature(unsigned, ROTATION_TYPE, signature, key=new, where=at)
        return Counting(self.index, report, at).take(one, line)

    def _take_key(self, pem: str, at: str) -> None:
        try:
            key = parse_public_key(pem)
        except ValueError as error:
            raise invalid(at, "its public key is damaged, or weak") from error
        if key in self.signers:  # it was given up, perhaps because it was stolen
            raise invalid(at, "it hands over to a key that was given up before")
        self.signers.append(key)


def _longer(prefix: bytes, line: bytes) -> bytes:
    """The running digest of a prefix of a ledger, with one more line."""
    return sha256(prefix + line).digest()


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

    def part(start: int, stop: int) -> bytes:
        return data[start:stop]

    with Index.of(None) as index:
        follower = Follower(where, part, part, index)
        follower.follow(len(data))
        return follower.verdict(key, holds)


@contextmanager
def following(
    ledger: Path, descriptor: int, size: int, *, anew: bool = False
) -> Iterator[Follower]:
    """A follower at the end of the ledger's first `size` bytes, which others must not change now.

    Args:
        ledger: the file.
        descriptor: of the open file, locked.
        size: bytes of whole lines.
        anew: verify all of it, whatever was verified before.

    Raises:
        BusbenchError: `ledger-invalid`, naming the first entry that fails.
    """
    with Index.of(None if size < LONG else ledger) as index:
        if anew:
            index.clear()
        now, later = partial(_read_open, descriptor), partial(_read_path, ledger)
        follower = Follower(str(ledger), now, later, index)
        if not follower.resume(_stamp(descriptor), size):
            follower.follow(size)
            follower.save(descriptor)
        yield follower


def _read_open(descriptor: int, start: int, stop: int) -> bytes:
    return os.pread(descriptor, stop - start, start)  # of a local file, all that is there


def _read_path(path: Path, start: int, stop: int) -> bytes:
    with path.open("rb") as handle:
        handle.seek(start)
        return handle.read(stop - start)


def _stamp(descriptor: int) -> tuple[int, ...]:
    """What changes whenever the file does."""
    now = os.fstat(descriptor)
    return (now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns)
