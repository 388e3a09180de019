"""Checkpoints: signed notes of how long a ledger was and what it said, for others to keep.

Whoever holds one proves later that entries were dropped or exchanged, by the owner of the key, too.
The form is https://c2sp.org/signed-note with the lines of https://c2sp.org/tlog-checkpoint (origin,
number of entries, root of the RFC 6962 tree over the ledger's lines), so that witnesses of other
logs can cosign it, and two lines of ours: the head, and the time of the last entry.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Signature, SSlibKey

from evaluator.errors import BusbenchError, Code
from evaluator.files import disk_errors, write_atomically
from harness.ledger.attestation import decode, invalid
from harness.ledger.chain import verify_ledger
from harness.ledger.entries import Instant
from harness.ledger.index import Index, Row
from harness.ledger.verdict import LedgerVerdict
from harness.sealing.keys import Keys

SUFFIX = ".checkpoint"
MAX_BYTES = 64 * 1024  # one takes 500; a witness adds 150
_ED25519 = b"\x01"  # signed-note's number of the algorithm
_TEXT = re.compile(r"(?P<origin>[^\n]+)\n(?P<entries>[1-9][0-9]{0,11})\n(?:[^\n]+\n)+")
_SIGNATURE = re.compile(r"— (?P<name>[^\s+]+) (?P<sig>[A-Za-z0-9+/]+={0,2})")


@dataclass(frozen=True)
class Witnessed:
    """What a checkpoint has seen of a ledger."""

    entries: int
    time: Instant  # at which the last of them was recorded


def sign_checkpoint(ledger: LedgerVerdict, keys: Keys) -> bytes:
    """A checkpoint of a whole ledger, by the key that signs it now. Same ledger, same bytes.

    Raises:
        BusbenchError: `ledger-invalid` where the ledger is another key's.
    """
    if keys.report.keyid != ledger.key:
        raise invalid(ledger.where, f"it belongs to another key ({ledger.key[:16]}…)")
    text = _note_text(ledger.records.index, ledger.entries)
    name = text.split("\n", 1)[0]
    raw = bytes.fromhex(keys.signer().sign(text.encode()).signature)
    signature = base64.b64encode(_key_hash(name, keys.report) + raw).decode()
    return f"{text}\n— {name} {signature}\n".encode()


def require_witnessed(ledger: LedgerVerdict, note: bytes, where: str) -> Witnessed:
    """What a checkpoint has seen of a ledger, once all of it is found in the ledger.

    Other signatures than the ledger's, such as witnesses', are not looked at.

    Raises:
        BusbenchError: `ledger-invalid` where the note is none, is of another ledger, has seen
            other or more entries, or is not signed by the key that signed the ledger then.
    """
    text, signatures = _parse(note, where)
    found = _TEXT.fullmatch(text)
    if found is None:
        raise invalid(where, "it is no checkpoint")
    entries = int(found["entries"])
    if entries > ledger.entries:
        why = f"it has seen {entries} entries of a ledger, and {ledger.where}"
        raise invalid(where, f"{why} has {ledger.entries}")
    if text != _note_text(ledger.records.index, entries):
        raise invalid(where, f"it has not seen the {entries} first entries of {ledger.where}")
    key = ledger.signer_after(entries)
    if not any(_verifies(text, *one, key=key) for one in signatures if one[0] == found["origin"]):
        raise invalid(where, f"it is not signed by the key that signed {ledger.where} then")
    return Witnessed(entries, _row(ledger.records.index, entries - 1).time)


def _note_text(index: Index, entries: int) -> str:
    """The text of the checkpoint of a ledger's first entries."""
    last, origin = _row(index, entries - 1), f"busbench.org/ledger/{_row(index, 0).digest}"
    root = tree_root(row.leaf for row in index.find("number < ?", entries))
    head = (f"head {last.digest}", f"recorded {last.time}")
    rows = (origin, entries, base64.b64encode(root).decode(), *head)
    return "".join(f"{row}\n" for row in rows)


def _row(index: Index, number: int) -> Row:
    (row,) = index.find("number = ?", number)
    return row


def tree_root(leaves: Iterable[bytes]) -> bytes:
    """The root of the Merkle tree of RFC 6962 over one or more leaves, given by their hashes."""
    whole: list[bytes] = []  # roots of the largest full trees so far, from left to right
    for number, leaf in enumerate(leaves, start=1):
        whole.append(leaf)
        for _ in range((number & -number).bit_length() - 1):  # as often as 2 divides it
            right = whole.pop()
            whole.append(_joined(whole.pop(), right))
    root = whole.pop()
    while whole:
        root = _joined(whole.pop(), root)
    return root


def _joined(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def write_checkpoint(ledger: Path, keys: Keys, folder: Path) -> Path:
    """Write a checkpoint of a ledger into a folder of its checkpoints.

    Raises:
        BusbenchError: `ledger-invalid` where the ledger is not valid, is another key's, or one of
            the folder has seen another ledger.
    """
    verdict = verify_ledger(ledger)
    for path in folder.rglob(f"*{SUFFIX}"):
        require_witnessed(verdict, read_note(path), str(path))
    name = f"{verdict.entries:06}-{verdict.head[:12]}{SUFFIX}"
    with disk_errors(folder):
        write_atomically(folder / name, sign_checkpoint(verdict, keys))
    return folder / name


def find_checkpoints(path: Path) -> list[Path]:
    """A checkpoint's file, or all of a folder.

    Raises:
        BusbenchError: `usage` where a folder contains none.
    """
    found = sorted(path.rglob(f"*{SUFFIX}")) if path.is_dir() else [path]
    if not found:
        remedy = "Name the folder where `busbench ledger checkpoint` writes."
        raise BusbenchError(Code.USAGE, f"{path} contains no *{SUFFIX}.", remedy)
    return found


def read_note(path: Path) -> bytes:
    """The bytes of a checkpoint's file; raises `ledger-invalid` where it is none."""
    if not path.is_file():  # a pipe would be waited for
        raise invalid(str(path), "it is no file")
    try:
        with path.open("rb") as handle:
            return handle.read(MAX_BYTES + 1)
    except OSError as error:
        raise invalid(str(path), f"it cannot be read ({error.strerror})") from error


def _parse(note: bytes, where: str) -> tuple[str, list[tuple[str, bytes]]]:
    """The text of a signed note, and its signatures: each by a name."""
    try:
        text, end, tail = note.decode().rpartition("\n\n")
        lines = [_SIGNATURE.fullmatch(line) for line in tail.split("\n")[:-1]]
        signatures = [(m["name"], decode(m["sig"], where)) for m in lines if m]
        if len(note) > MAX_BYTES or not end or not tail.endswith("\n") or not all(lines):
            raise ValueError("no signed note")
    except ValueError as error:
        raise invalid(where, "it is no signed note") from error
    return text + "\n", signatures


def _key_hash(name: str, key: SSlibKey) -> bytes:
    """The four bytes by which a note's signature names its key."""
    raw = bytes.fromhex(key.keyval["public"])
    return sha256(name.encode() + b"\n" + _ED25519 + raw).digest()[:4]


def _verifies(text: str, name: str, signature: bytes, *, key: SSlibKey) -> bool:
    if signature[:4] != _key_hash(name, key):
        return False
    try:
        key.verify_signature(Signature(key.keyid, signature[4:].hex()), text.encode())
    except UnverifiedSignatureError:
        return False
    return True
