"""Publishing: a new site takes the old one's place whole, or not at all.

The site is built beside its place and changes places with the old one in one step. Only a ledger
that verifies is published, and only a site is ever replaced.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from evaluator.documents.base import CASE_BY_CASE, Digest, read
from evaluator.documents.reading import load_json, read_bytes
from evaluator.errors import BusbenchError, Code
from evaluator.files import disk_errors, pretty_json, sha256_bytes
from harness.challenge import Challenge
from harness.ledger import verify_ledger
from harness.ranking import Board
from harness.splits import FrozenSplit
from harness.splits.lock import SplitLock
from harness.website.edition import Edition

SCHEMA = "busbench/site/v1"
INDEX = "site.json"  # of all other files; what makes a folder a site
EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
HERE = -100  # AT_FDCWD


def publish(
    ledger: Path,
    out: Path,
    splits: Sequence[Path] = (),
    *,
    challenge: Challenge | None = None,
) -> Board:
    """Write the site of `ledger` to the folder `out`.

    The same ledger, splits and challenge give the same bytes.

    Args:
        splits: frozen splits, or folders of them, whose audits the site shows.
        challenge: what the site says of the challenge, and the tracks that reports must be on.

    Raises:
        BusbenchError: `ledger-invalid` where the ledger does not verify; `challenge-invalid` where
            a report is not on a track as it is declared; `split-invalid` where a
            split that results name does not; `output-exists` where `out` contains anything but an
            earlier site; `disk-full` where the disk refuses.
    """
    from harness.website.pages import render  # noqa: PLC0415 - the charts' library takes a second

    place = out.resolve()  # a link to a served folder stays a link
    _require_site(place)
    verdict = verify_ledger(ledger)
    lines = ledger.read_bytes().splitlines(keepends=True)
    data = b"".join(lines[: verdict.entries])  # not what was appended since
    wanted = {entry.report.provenance.split_digest for entry in verdict.reports}
    edition = Edition.of(verdict, data, find_locks(splits, wanted), challenge=challenge)
    files = render(edition)
    with disk_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        with _locked(place.parent):
            _require_site(place)
            _swap_in(place, files)
    return edition.board


def find_locks(folders: Sequence[Path], wanted: set[Digest]) -> dict[Digest, SplitLock]:
    """The locks of the frozen splits in `folders` that are among those `wanted`."""
    remedy = "Name a folder that `busbench freeze` made, or one that contains such folders."
    found = {}
    for folder in folders:
        paths = sorted(folder.rglob("lock.json"))
        if not paths:
            raise BusbenchError(Code.SPLIT_INVALID, f"{folder} contains no frozen split.", remedy)
        for path in paths:
            lock = read(SplitLock, path, Code.SPLIT_INVALID, remedy=remedy)
            if lock.digest in wanted:
                found[lock.digest] = FrozenSplit.open(path.parent).lock
    return found


def _swap_in(place: Path, files: Mapping[str, bytes]) -> None:
    partial = place.with_name(f".{place.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a killed run
    digests = {name: sha256_bytes(data) for name, data in files.items()}
    index = {INDEX: pretty_json({"schema": SCHEMA, "files": digests})}
    for name, data in {**files, **index}.items():
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        (partial / name).write_bytes(data)
    if not place.exists():
        partial.rename(place)
        return
    _exchange(partial, place)
    shutil.rmtree(partial, ignore_errors=True)


def _exchange(one: Path, other: Path) -> None:
    """Let two folders change names, in one step where the system can: at no moment is either gone.

    Where it can't (not Linux, or an old file system), there is no site for an instant.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename and rename(HERE, os.fsencode(one), HERE, os.fsencode(other), EXCHANGE) == 0:
        return
    aside = other.with_name(f"{one.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    other.rename(aside)
    one.rename(other)
    aside.rename(one)


def _require_site(place: Path) -> None:
    """Refuse to replace what is not an earlier site, or contains more than one."""
    if not place.exists():
        return
    if place.is_dir():
        here = {
            str(p.relative_to(place)) for p in place.rglob("*") if not p.is_dir() or p.is_symlink()
        }
        if here <= _indexed(place / INDEX):
            return
    raise BusbenchError(
        Code.OUTPUT_EXISTS,
        f"{place} contains something that is not a site of ours.",
        "Name a folder for the site alone, and copy it from there to where it is served.",
    )


def _indexed(path: Path) -> set[str]:
    """The files of the site that `path` indexes, itself among them; none where it is no index."""
    try:
        data = read_bytes(path, CASE_BY_CASE.bytes, Code.OUTPUT_EXISTS, remedy="")
        document = load_json(data, CASE_BY_CASE)
        return {INDEX, *document["files"]} if document["schema"] == SCHEMA else set()
    except (BusbenchError, RecursionError, ValueError, TypeError, KeyError):
        return set()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time swap sites in `folder`."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
