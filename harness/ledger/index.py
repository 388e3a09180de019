"""Index of a verified ledger: what is needed to go on where the last verification ended.

It lies in the user's cache, not beside the ledger: an index that came with a ledger from elsewhere
would vouch for it. A row says what an entry is and where its line begins; the state says how much
of the file was verified, with a digest over these bytes. An index that cannot be read, or is of
another release, is empty; it may be removed at any time.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path

from evaluator.documents.base import Digest
from evaluator.errors import BusbenchError, Code
from harness import __version__
from harness.ledger.entries import SCHEMA as ENTRY_SCHEMA
from harness.ledger.entries import Instant

log = logging.getLogger(__name__)
VERSION = 3
SCHEMA = f"busbench/ledger-index/v{VERSION}"
WAIT = 60.0  # seconds for another reader that goes on with the same index
_TABLES = (
    """create table entries (
        number integer primary key, kind text not null, digest text not null, time text not null,
        start integer not null, stop integer not null, leaf blob not null, same text,
        since integer, gone integer, replaces integer, origin integer
    )""",
    "create table state (document text not null)",
)
_BY_DIGEST = "create unique index by_digest on entries (digest)"
_BY_SAME = "create index by_same on entries (kind, same)"
_EARLIER = (
    *(f"drop table if exists {name}" for name in ("entries", "places", "state")),
    f"pragma user_version = {VERSION}",
)
DISK_FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
REPORTS = ("report", "rescored")  # kinds of entries that contain one


@dataclass(frozen=True)
class Row:
    """An entry, and where its line is."""

    number: int
    kind: str
    digest: Digest
    time: Instant
    start: int  # of its line, in bytes
    stop: int  # behind its newline
    leaf: bytes  # SHA-256 of it as a leaf of the tree that checkpoints name
    same: Digest | None
    since: int | None = None  # number of the entry by which a report counts, if it ever does
    gone: int | None = None  # of that which retracts it, or by which another takes its place
    replaces: int | None = None  # of the report that it was scored anew from
    origin: int | None = None  # of the first report of that place

    @property
    def is_report(self) -> bool:
        """Whether the entry contains a report."""
        return self.kind in REPORTS

    @property
    def place(self) -> tuple[int, Digest, Instant]:
        """Where and when the entry was recorded."""
        return self.number, self.digest, self.time


_INSERT = f"insert into entries values ({','.join('?' * len(fields(Row)))})"


@dataclass(frozen=True)
class State:
    """How much of a file was verified."""

    stop: int  # bytes
    prefix: str  # running digest over the lines, see `following.Follower`
    public_keys: tuple[str, ...]  # PEM, of all that signed it
    stamp: tuple[int, ...]  # of the file when it ended there, see `following`


class Index:
    """Rows and state in SQLite; what is not saved is gone when it is closed."""

    def __init__(self, database: sqlite3.Connection, *, kept: bool) -> None:
        self._database, self.kept = database, kept

    @classmethod
    @contextmanager
    def of(cls, ledger: Path | None) -> Iterator[Index]:
        """The kept index of the ledger at a path; a new one for none, or where none can be kept.

        Raises:
            BusbenchError: within it, `disk-full` where the disk takes neither it nor a copy of it;
                `ledger-invalid` where it is damaged.
        """
        found = None if ledger is None else _open(ledger)
        database = found or _temporary(*_TABLES, _BY_DIGEST, _BY_SAME)
        try:
            yield cls(database, kept=found is not None)
        except sqlite3.DatabaseError as error:
            full = getattr(error, "sqlite_errorcode", 0) & 0xFF in DISK_FULL
            raise (_disk_full() if full else _damaged(ledger)) from error
        finally:
            database.close()

    def state(self) -> State | None:
        """How far the ledger was verified; None where nothing was, or by another release."""
        found = self._database.execute("select document from state").fetchone()
        fields = json.loads(found[0]) if found else {}
        if fields.pop("rules", None) != _rules():
            return None
        return State(
            stop=fields["stop"],
            prefix=fields["prefix"],
            public_keys=tuple(fields["public_keys"]),
            stamp=tuple(fields["stamp"]),
        )

    def clear(self) -> None:
        """Forget everything."""
        self._database.execute("delete from entries")
        self._database.execute("delete from state")

    def save(self, state: State) -> None:
        """Keep all rows, and this state; an index that cannot be written is left as it was."""
        document = json.dumps({"rules": _rules(), **asdict(state)})
        try:
            self._database.execute("delete from state")
            self._database.execute("insert into state values (?)", (document,))
            self._database.commit()
            self._database.execute("begin immediate")
        except sqlite3.Error as error:  # the ledger itself is written: only time is lost
            log.debug("The index of the ledger was not kept: %s", error)

    def add(self, row: Row) -> None:
        """Add an entry behind all others."""
        self._database.execute(_INSERT, tuple(vars(row).values()))

    def count_from(self, number: int, since: int) -> None:
        """Note by which entry the report `number`, which was scored anew, counts."""
        self._database.execute("update entries set since = ? where number = ?", (since, number))

    def retract(self, number: int, by: int) -> None:
        """Note that since the entry `by` the report `number` does not count."""
        self._database.execute("update entries set gone = ? where number = ?", (by, number))

    def find(self, condition: str = "true", *values: object) -> Iterator[Row]:
        """The rows that fulfil a condition of SQL, in their order."""
        query = f"select * from entries where {condition} order by number"
        return (Row(*found) for found in self._database.execute(query, values))

    def last(self, condition: str = "true", *values: object) -> Row | None:
        """The last row that fulfils a condition of SQL."""
        query = f"select * from entries where {condition} order by number desc limit 1"
        found = self._database.execute(query, values).fetchone()
        return Row(*found) if found else None

    def count(self, condition: str, *values: object) -> int:
        """How many rows fulfil a condition of SQL."""
        query = f"select count(*) from entries where {condition}"
        (number,) = self._database.execute(query, values).fetchone()
        return int(number)

    def copy(self) -> Index:
        """The rows as they are now, for as long as anybody asks for them."""
        database = _temporary(*_TABLES)
        database.executemany(_INSERT, self._database.execute("select * from entries"))
        database.execute(_BY_DIGEST)  # at once takes less time than row by row
        return Index(database, kept=False)


def index_path(ledger: Path) -> Path | None:
    """Where the index of a ledger is kept; None where the user has no home folder."""
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        return None
    name = sha256(os.fsencode(ledger.resolve())).hexdigest()
    return Path(base) / "busbench" / "ledgers" / f"{name}.sqlite"


def _disk_full() -> BusbenchError:
    message = "The disk is full: the index of a long ledger, or a copy of it, does not fit."
    remedy = "Free some space, or name other folders in XDG_CACHE_HOME and TMPDIR."
    return BusbenchError(Code.DISK_FULL, message, remedy)


def _damaged(ledger: Path | None) -> BusbenchError:
    if ledger is not None and (path := index_path(ledger)):
        path.unlink(missing_ok=True)
    message = f"What was kept of the last verification of {ledger} is damaged, and was removed."
    return BusbenchError(
        Code.LEDGER_INVALID, message, "Do it again: the ledger itself is as it was."
    )


def _open(ledger: Path) -> sqlite3.Connection | None:
    path = index_path(ledger)
    if path is None:
        return None
    for _ in range(2):
        try:
            return _opened(path)
        except (sqlite3.OperationalError, OSError) as error:  # held by another, or read-only
            log.debug("The index of %s is not used: %s", ledger, error)
            return None
        except sqlite3.DatabaseError:
            path.unlink(missing_ok=True)  # it is no database: a new one takes its place
    return None


def _opened(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    database = sqlite3.connect(path, timeout=WAIT, isolation_level=None)
    try:
        # A crash of the machine loses what was kept last, and is not worth more waiting.
        database.execute("pragma synchronous = normal")
        database.execute("begin immediate")  # nobody else goes on with it meanwhile
        if database.execute("pragma user_version").fetchone() != (VERSION,):
            _execute(database, *_EARLIER, *_TABLES, _BY_DIGEST, _BY_SAME)
    except sqlite3.Error:
        database.close()
        raise
    return database


def _temporary(*statements: str) -> sqlite3.Connection:
    database = sqlite3.connect("", isolation_level=None)  # in memory, and a file once it is large
    _execute(database, "begin", *statements)
    return database


def _execute(database: sqlite3.Connection, *statements: str) -> None:
    for statement in statements:
        database.execute(statement)


def _rules() -> str:
    return f"{SCHEMA} of {__version__} on {ENTRY_SCHEMA}"
