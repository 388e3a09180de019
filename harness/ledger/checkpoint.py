"""Checkpoints: signed notes of how long a ledger was and what it said, for others to keep.

Whoever holds one proves later that entries were dropped or exchanged, by the owner of the key, too.
The form is https://c2sp.org/signed-note with the lines of https://c2sp.org/tlog-checkpoint (origin,
number of entries, root of the RFC 6962 tree over the ledger's lines), so that witnesses of other
logs can cosign it, and two lines of ours: the head, and the time of the last entry.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Signature, SSlibKey

from evaluator.errors import BusbenchError, Code
from evaluator.files import disk_errors, write_atomically
from harness.ledger.attestation import decode, invalid
from harness.ledger.chain import read_ledger
from harness.ledger.entries import Instant
from harness.ledger.following import verify_bytes
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


@dataclass(frozen=True)
class WholeLedger:
    """A verified ledger with its lines, which checkpoints are made of and compared with."""

    where: str
    lines: tuple[bytes, ...]
    verdict: LedgerVerdict

    @classmethod
    def of(cls, data: bytes, where: str) -> WholeLedger:
        """The ledger of these bytes; raises `ledger-invalid`, see `verify_bytes`."""
        return cls(where, tuple(data.splitlines()), verify_bytes(data, where))

    @classmethod
    def read(cls, path: Path) -> WholeLedger:
        """The ledger in a file; raises `ledger-invalid`."""
        return cls.of(read_ledger(path), str(path))

    def sign(self, keys: Keys) -> bytes:
        """A checkpoint of the whole ledger, by the key that signs it now. Same ledger, same bytes.

        Raises:
            BusbenchError: `ledger-invalid` where the ledger is another key's.
        """
        if keys.report.keyid != self.verdict.key:
            raise invalid(self.where, f"it belongs to another key ({self.verdict.key[:16]}…)")
        text = note_text(self.lines)
        name = text.split("\n", 1)[0]
        raw = bytes.fromhex(keys.signer().sign(text.encode()).signature)
        signature = base64.b64encode(_key_hash(name, keys.report) + raw).decode()
        return f"{text}\n— {name} {signature}\n".encode()

    def require_witnessed(self, note: bytes, where: str) -> Witnessed:
        """What a checkpoint has seen of this ledger, once all of it is found in this ledger.

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
        if entries > len(self.lines):
            why = f"it has seen {entries} entries of a ledger, and {self.where}"
            raise invalid(where, f"{why} has {len(self.lines)}")
        if text != note_text(self.lines[:entries]):
            raise invalid(where, f"it has not seen the {entries} first entries of {self.where}")
        key = self.verdict.signer_after(entries)
        if not any(
            _verifies(text, *one, key=key) for one in signatures if one[0] == found["origin"]
        ):
            raise invalid(where, f"it is not signed by the key that signed {self.where} then")
        return Witnessed(entries, _recorded(self.lines[entries - 1]))


def note_text(lines: Sequence[bytes]) -> str:
    """The text of the checkpoint of a ledger of these lines."""
    genesis, last = json.loads(lines[0]), json.loads(lines[-1])
    origin = f"busbench.org/ledger/{genesis['digest']}"
    root = base64.b64encode(tree_root(lines)).decode()
    rows = (origin, len(lines), root, f"head {last['digest']}", f"recorded {last['recorded']}")
    return "".join(f"{row}\n" for row in rows)


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """The root of the Merkle tree of RFC 6962 over one or more leaves."""
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    left = 1 << (len(leaves) - 1).bit_length() - 1  # the largest power of two below the length
    return sha256(b"\x01" + tree_root(leaves[:left]) + tree_root(leaves[left:])).digest()


def write_checkpoint(ledger: Path, keys: Keys, folder: Path) -> Path:
    """Write a checkpoint of a ledger into a folder of its checkpoints.

    Raises:
        BusbenchError: `ledger-invalid` where the ledger is not valid, is another key's, or one of
            the folder has seen another ledger.
    """
    whole = WholeLedger.read(ledger)
    for path in folder.rglob(f"*{SUFFIX}"):
        whole.require_witnessed(read_note(path), str(path))
    name = f"{whole.verdict.entries:06}-{whole.verdict.head[:12]}{SUFFIX}"
    with disk_errors(folder):
        write_atomically(folder / name, whole.sign(keys))
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


def _recorded(line: bytes) -> Instant:
    return str(json.loads(line)["recorded"])
