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
from dataclasses import replace
from pathlib import Path

from evaluator.documents.base import CASE_BY_CASE, Digest
from evaluator.documents.reading import load_json, read_bytes
from evaluator.errors import BusbenchError, Code
from evaluator.files import disk_errors, pretty_json, sha256_bytes
from evaluator.progress import Progress, quiet
from harness.challenge import Challenge
from harness.ledger import (
    LedgerVerdict,
    is_ahead,
    read_ledger,
    read_note,
    require_witnessed,
    sign_checkpoint,
    utc_now,
    verify_bytes,
)
from harness.ledger.chain import WRONG_CLOCK
from harness.ledger.entries import Entry
from harness.sealing.keys import Keys, read_public_key
from harness.website.edition import CHECKPOINT, PUBLIC_KEY, Edition
from harness.website.extras import Sources

SCHEMA = "busbench/site/v1"
LEDGER = "ledger.jsonl"
INDEX = "site.json"  # of all other files; what makes a folder a site
EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
HERE = -100  # AT_FDCWD


def publish(
    ledger: Path,
    out: Path,
    splits: Sequence[Path] = (),
    *,
    sources: Sources = Sources(),  # noqa: B008 - frozen
    challenge: Challenge | None = None,
    keys: Keys | None = None,
    replaces: Digest | None = None,
    progress: Progress = quiet,
) -> Edition:
    """Write the site of `ledger` to the folder `out`.

    The same ledger, splits, sources, challenge and keys give the same bytes. What is published goes
    on where the site's own copy of the ledger ends: no older ledger, and none that forked, takes
    its place.

    Args:
        splits: frozen splits, or folders of them, whose audits the site shows.
        sources: folders of the organiser's own that more is shown from.
        challenge: what the site says of the challenge, and the tracks that reports must be on.
        keys: the organiser's, to sign a checkpoint of the ledger for the site.
        replaces: the head of the published ledger that is given up for another one.

    Raises:
        BusbenchError: `ledger-invalid` where the ledger does not verify, does not go on from the
            published one, is another key's or is of a time to come; `challenge-invalid` where a
            report is not on a track as it is declared; `split-invalid` where a split that results
            name does not; `output-exists` where `out` contains anything but an earlier site
            or the public key of the ledger;
            `usage` where `replaces` names another head; what `collect` raises; `disk-full` where
            the disk refuses.
    """
    from harness.website.collecting import collect, find_splits  # noqa: PLC0415 - as below
    from harness.website.pages.site import render  # noqa: PLC0415 - the charts' library takes a second

    place = out.resolve()  # a link to a served folder stays a link
    _require_site(place)
    data = read_ledger(ledger)
    verdict = verify_bytes(data, str(ledger))
    require_own_key(place, verdict)
    if is_ahead(verdict.time, now := utc_now()):
        message = f"The last entry of {ledger} is of {verdict.time}, and it is {now} here."
        raise BusbenchError(Code.LEDGER_INVALID, message, WRONG_CLOCK)
    require_successor(place, verdict, data, replaces=replaces)
    wanted = {entry.report.provenance.split_digest for entry in verdict.reports}
    found = find_splits(splits, wanted)
    edition = Edition.of(
        verdict,
        data,
        {digest: split.lock for digest, split in found.items()},
        challenge=challenge,
        checkpoint=None if keys is None else sign_checkpoint(verdict, keys),
    )
    extras = collect(edition, found, sources, progress=progress)
    edition = replace(edition, extras=extras)
    files = render(edition)
    with disk_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        with _locked(place.parent):
            _require_site(place)
            require_own_key(place, verdict)
            require_successor(place, verdict, data, replaces=replaces)
            _swap_in(place, files)
    return edition


def require_own_key(place: Path, verdict: LedgerVerdict) -> None:
    """Refuse to write over a public key at `place` that never signed the ledger.

    Raises:
        BusbenchError: `output-exists`; `keys-invalid` where it is no public key.
    """
    path = place / PUBLIC_KEY
    if not path.exists() or PUBLIC_KEY in _indexed(place / INDEX):
        return
    if read_public_key(path).keyid not in verdict.keys:
        message = f"{path} is another key than those that sign {verdict.where}."
        remedy = "Remove it, or publish the ledger that it signs."
        raise BusbenchError(Code.OUTPUT_EXISTS, message, remedy)


def require_successor(
    place: Path, verdict: LedgerVerdict, data: bytes, *, replaces: Digest | None = None
) -> None:
    """Refuse a ledger that does not go on from the one that the site at `place` publishes.

    Raises:
        BusbenchError: `ledger-invalid`; `usage` where `replaces` has nothing to replace.
    """
    published = _published(place)
    if published is None or data.startswith(published):
        if replaces is not None:
            message = (
                f"--replaces gives up a ledger, and {verdict.where} goes on from what is there."
            )
            raise BusbenchError(Code.USAGE, message, "Leave it out.")
        if (note := place / CHECKPOINT).exists():
            require_witnessed(verdict, read_note(note), str(note))
        return
    head = str(load_json(published.splitlines()[-1], Entry.bounds)["digest"])
    if replaces is None:
        why = _difference(published, data)
        message = f"{verdict.where} does not go on from the ledger that {place} publishes: {why}."
        remedy = f"Name the ledger that does. To give up the published one, add --replaces {head}."
        raise BusbenchError(Code.LEDGER_INVALID, message, remedy)
    if replaces != head:
        message = f"The ledger that {place} publishes ends in {head}, not in {replaces}."
        raise BusbenchError(Code.USAGE, message, "Name this head with --replaces.")


def _difference(published: bytes, data: bytes) -> str:
    old, new = published.splitlines(), data.splitlines()
    if published.startswith(data):
        return f"it has {len(new)} of {len(old)} entries"
    first = next(n for n, (a, b) in enumerate(zip(old, new, strict=False)) if a != b)
    return f"entry {first} is another"


def _published(place: Path) -> bytes | None:
    """The ledger that the site at `place` publishes, as it was written; None without a site.

    Raises:
        BusbenchError: `ledger-invalid` where it was changed, removed or cut.
    """
    if not (place / INDEX).exists():
        return None
    try:
        stated = load_json((place / INDEX).read_bytes(), CASE_BY_CASE)["files"][LEDGER]
        data = (place / LEDGER).read_bytes()
    except (OSError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise _changed_copy(place) from error
    if sha256_bytes(data) != stated:
        raise _changed_copy(place)
    return data


def _changed_copy(place: Path) -> BusbenchError:
    message = f"{place / LEDGER} is not as it was published: nothing shows what must go on."
    return BusbenchError(Code.LEDGER_INVALID, message, "Restore it, or publish to a new folder.")


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
        if here <= {*_indexed(place / INDEX), PUBLIC_KEY}:
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
