"""Examination of single lines: what can be checked of an entry without the entries before it.

Nothing here depends on the order of the lines, so a long ledger is examined on all cores.
`harness.ledger.following` checks the rest: the chain, whose turn it is to sign, what is retracted.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeAlias

from securesystemslib.signer import SSlibKey

from evaluator.documents.base import Digest
from evaluator.documents.reading import MEBIBYTE, load_to_compare
from evaluator.errors import BusbenchError
from evaluator.files import canonical_json, rfc8785_json, sha256_bytes
from harness.ledger.attestation import (
    CODE,
    REMEDY,
    SIGNED,
    check_signature,
    invalid,
    open_report,
    parse_canonical,
    validate_canonical,
)
from harness.ledger.entries import (
    EARLIER,
    ENTRIES,
    ENTRY_TYPE,
    Entry,
    Genesis,
    Instant,
    RankingEntry,
    ReportEntry,
    RescoredEntry,
    RescoringEntry,
    RetractionEntry,
    RotationEntry,
    unsealed,
)
from harness.ledger.report import Report
from harness.sealing.keys import parse_public_key

PARALLEL = 32 * MEBIBYTE  # from here on, other processes are worth their start
_KEY_FIELD = b'"public_key":'


@dataclass(frozen=True)
class Examined:
    """What a line says of its entry, which is canonical and has the digest that it states."""

    kind: str
    number: int
    previous: Digest
    digest: Digest
    time: Instant
    keyid: Digest  # of the key that its signature names
    fault: str | None  # the message of the error in its signatures or its report
    same: Digest | None = None  # entries of a kind that say the same have the same
    retracts: Digest | None = None
    replaces: Digest | None = None  # of a report that was scored anew
    replaced: tuple[tuple[Digest, Digest], ...] = ()  # of a rescoring: entries before and after
    left: tuple[Digest, ...] = ()
    public_key: str | None = None  # of a genesis or a rotation


Batch: TypeAlias = list[bytes]  # lines, without their newlines
Found: TypeAlias = list[Examined | str]  # a message ends it: that of the first unreadable line
_Task: TypeAlias = tuple[Batch, str, tuple[str, ...], int]


def examine(
    batches: Iterable[Batch], where: str, keys: Iterable[str], *, first: int, size: int
) -> Iterator[tuple[bytes, Examined]]:
    """Examine lines in their order, a long ledger's in several processes.

    Args:
        batches: the lines; each batch is one process's work.
        where: the ledger's name, for errors.
        keys: those (PEM) that signed it before these lines.
        first: the number of the first line.
        size: bytes of all lines.

    Raises:
        BusbenchError: `ledger-invalid` at the first line that is no canonical entry.
    """
    tasks = _tasks(batches, where, keys, first=first)
    if size < PARALLEL:
        done: Iterable[tuple[Batch, Found]] = ((task[0], _examine(*task)) for task in tasks)
        yield from _lines(done)
        return
    spawn = multiprocessing.get_context("spawn")  # a fork would copy locks that threads hold
    workers = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(workers, spawn) as pool:
        try:
            yield from _lines(_ahead(pool, tasks, 2 * workers))
        finally:
            pool.shutdown(cancel_futures=True)


def _tasks(
    batches: Iterable[Batch], where: str, keys: Iterable[str], *, first: int
) -> Iterator[_Task]:
    """Each batch with the keys that may have signed it: those that it or an earlier line names."""
    known = dict.fromkeys(keys)
    for batch in batches:
        known.update(dict.fromkeys(_named_keys(batch)))
        yield batch, where, tuple(known), first
        first += len(batch)


def _named_keys(batch: Batch) -> Iterator[str]:
    for line in batch:
        if _KEY_FIELD in line:
            try:
                yield str(json.loads(line)["public_key"])
            except (ValueError, TypeError, LookupError, RecursionError):
                continue  # whoever examines it says what is wrong with it


def _ahead(
    pool: ProcessPoolExecutor, tasks: Iterator[_Task], window: int
) -> Iterator[tuple[Batch, Found]]:
    """Results in order, with no more than `window` batches in memory."""
    running = deque((task[0], pool.submit(_examine, *task)) for task in islice(tasks, window))
    while running:
        batch, future = running.popleft()
        yield batch, future.result()
        running.extend((task[0], pool.submit(_examine, *task)) for task in islice(tasks, 1))


def _lines(done: Iterable[tuple[Batch, Found]]) -> Iterator[tuple[bytes, Examined]]:
    for batch, found in done:
        for line, one in zip(batch, found, strict=False):  # what follows an error is not examined
            if isinstance(one, str):
                raise BusbenchError(CODE, one, REMEDY)
            yield line, one


def _examine(batch: Batch, where: str, pems: tuple[str, ...], first: int) -> Found:  # noqa: PLR0917  a process gets its arguments by position
    keys = {key.keyid: key for key in _parse_keys(pems)}
    found: Found = []
    for number, line in enumerate(batch, start=first):
        try:
            found.append(_examine_line(line, f"{where}: entry {number}", keys, number=number))
        except BusbenchError as error:
            return [*found, error.message]
    return found


def _parse_keys(pems: Iterable[str]) -> Iterator[SSlibKey]:
    for pem in pems:
        try:
            yield parse_public_key(pem)
        except ValueError:
            continue  # no signature is by it; where it takes its turn, it is refused


def _examine_line(
    line: bytes, where: str, keys: Mapping[Digest, SSlibKey], *, number: int
) -> Examined:
    try:
        fields: Any = load_to_compare(line, SIGNED)
    except (ValueError, RecursionError):
        fields = None
    if number == 0:
        _require_readable(fields, where)
    model = _kind_of(fields, where) if number else Genesis
    if fields is None:
        entry = parse_canonical(model, line, where, form=rfc8785_json)
    else:
        entry = validate_canonical(model, fields, line, where=where, form=rfc8785_json)
    body = unsealed(fields)
    if entry.digest != sha256_bytes(body):
        raise invalid(where, "it was changed after it was written")
    report, fault = _check_signatures(entry, body, keys, where=where)
    return Examined(
        getattr(entry, "kind"),  # noqa: B009  each kind's is another literal
        entry.number,
        entry.previous,
        entry.digest,
        entry.recorded,
        entry.signature.keyid,
        fault,
        **_of_body(entry, report),
    )


def _of_body(entry: Entry, report: Report | None) -> dict[str, Any]:
    """What an entry says beside its place."""
    found: dict[str, Any] = {}
    match entry:
        case ReportEntry() if report is not None:
            found = {"same": same_report(report)}
        case RescoredEntry(replaces=digest) if report is not None:
            found = {"same": same_rescored(digest, report), "replaces": digest}
        case RescoringEntry(pairs=pairs, left=left):
            found = {"same": same_rescoring(pairs), "replaced": pairs, "left": left}
        case RetractionEntry(entry=digest, reason=reason):
            found = {"same": same_retraction(digest, reason), "retracts": digest}
        case RankingEntry(body=table):
            found = {"same": same_ranking(table)}
        case Genesis(public_key=pem) | RotationEntry(public_key=pem):
            found = {"public_key": pem}
    return found


def _check_signatures(
    entry: Entry, body: bytes, keys: Mapping[Digest, SSlibKey], *, where: str
) -> tuple[Report | None, str | None]:
    """The report of an entry, and the first error of its signatures.

    An error is returned: one of the entry's place comes first.
    """
    signature = entry.signature
    try:
        key = keys.get(signature.keyid)
        if key is None:
            raise invalid(where, f"it is signed by another key ({signature.keyid[:16]}…)")
        check_signature(body, ENTRY_TYPE, signature, key=key, where=where)
        if isinstance(entry, ReportEntry | RescoredEntry):
            return open_report(entry.envelope, (key,), where), None
    except BusbenchError as error:
        return None, error.message
    return None, None


def same_report(report: Report) -> Digest:
    """What all reports of the same evaluation share, if not they alone."""
    return sha256_bytes(canonical_json(report.provenance.document()))


def same_rescored(replaces: Digest, report: Report) -> Digest:
    """What the same scores in the place of the same entry share, and they alone."""
    return sha256_bytes(canonical_json([replaces, report.identity()]))


def same_rescoring(pairs: Iterable[tuple[Digest, Digest]]) -> Digest:
    """What rescorings that put the same entries into others' places share, and they alone."""
    return sha256_bytes(canonical_json([list(pair) for pair in pairs]))


def same_retraction(entry: Digest, reason: str) -> Digest:
    """What all retractions of an entry for the same reason share, and they alone."""
    return sha256_bytes(canonical_json([entry, reason]))


def same_ranking(table: object) -> Digest:
    """What all equal rankings share, and they alone."""
    return sha256_bytes(rfc8785_json(table))


def _require_readable(genesis: Any, where: str) -> None:
    """Refuse by name a ledger whose entries have the schema of an earlier version."""
    schema = genesis.get("schema") if isinstance(genesis, dict) else None
    if isinstance(schema, str) and (writer := EARLIER.get(schema)):
        ledger = where.rpartition(": entry")[0]
        message = f"{ledger} was written by {writer}, whose ledgers this version cannot read."
        remedy = "Verify it with that version; evaluate its submissions into a new ledger."
        raise BusbenchError(CODE, message, remedy)


def _kind_of(fields: Any, where: str) -> type[Entry]:
    try:
        return ENTRIES[fields["kind"]]
    except (TypeError, LookupError) as error:
        raise invalid(where, "it is of no kind that a ledger knows") from error
