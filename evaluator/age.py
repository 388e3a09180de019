"""Files encrypted with age, read at any place and from any thread.

The whole of a file is never decrypted: it consists of chunks that are sealed one by one, so that a
thread opens those that it needs. pyrage, which encrypts, reads from the beginning alone, at a
quarter of this speed, and lets no other thread of Python work meanwhile.

Source: C2SP, "The age file encryption format", version 1; BIP 173, "Base32 address format", for
the text of a key.
"""

from __future__ import annotations

import binascii
import hmac
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_CHUNK, _TAG = 1 << 16, 16  # bytes of a chunk, and those that its seal adds
_SEALED = _CHUNK + _TAG
_MAX_HEADER = 1 << 16  # bytes
_VERSION, _STANZA, _END = b"age-encryption.org/v1", b"-> X25519 ", b"--- "
_LETTERS, _PREFIX = "qpzry9x8gf2tvdw0s3jn54khce6mua7l", "age-secret-key-"
_GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_FILE_KEY, _KEY = 16, 32  # bytes: of the key that is wrapped, and of all others
_VALUES = 58  # letters of five bits: 256, padding, and six that check them


class NotOpenedError(ValueError):
    """The key does not open the file, or it is no such file; the message says which."""


class DamagedError(ValueError):
    """What the file contains was changed, or its end is missing."""


def parse_identity(text: str) -> X25519PrivateKey:
    """The secret key in `AGE-SECRET-KEY-1…`; raises ValueError where it is none."""
    prefix, _, data = text.lower().rpartition("1")
    if prefix != _PREFIX or text not in (text.lower(), text.upper()):
        raise ValueError("it does not begin with AGE-SECRET-KEY-1")
    values = [_LETTERS.index(letter) for letter in data]
    expanded = [*(ord(c) >> 5 for c in prefix), 0, *(ord(c) & 31 for c in prefix), *values]
    if _checksum(expanded) != 1 or len(values) != _VALUES:
        raise ValueError("a letter of it is wrong")
    number = 0
    for value in values[:-6]:
        number = number << 5 | value
    return X25519PrivateKey.from_private_bytes((number >> 4).to_bytes(_KEY, "big"))


def _checksum(values: list[int]) -> int:
    found = 1
    for value in values:
        top = found >> 25
        found = (found & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATORS):
            found ^= generator if top >> bit & 1 else 0
    return found


class AgeFile:
    """The content of an encrypted file that is open.

    Args:
        file: stays open as long as it is read.

    Raises:
        NotOpenedError: where `key` is of another file.
        DamagedError: where the file does not end as it did.
    """

    def __init__(self, file: BinaryIO, key: X25519PrivateKey) -> None:
        self._file = file.fileno()
        head = os.pread(self._file, _MAX_HEADER, 0)
        file_key, length = _open_header(head, key)
        nonce = head[length : length + 16]
        self._start = length + len(nonce)
        sealed = os.fstat(self._file).st_size - self._start
        self._last = max(0, -(-sealed // _SEALED) - 1)
        self.size = sealed - (self._last + 1) * _TAG  # bytes of the content
        self._cipher = ChaCha20Poly1305(_derive(file_key, b"payload", salt=nonce))
        rest = self.size - self._last * _CHUNK
        if rest < (self._last > 0):
            raise DamagedError("its end is missing")
        self._open(self._last, memoryview(bytearray(rest)))  # no other chunk can stand for it

    def read(self, start: int, end: int) -> memoryview:
        """The bytes from `start` to `end`, at most to the content's own end.

        Raises:
            DamagedError: where they were changed.
        """
        end = min(end, self.size)
        if start >= end:
            return memoryview(b"")
        first, last = start // _CHUNK, (end - 1) // _CHUNK
        begin = first * _CHUNK
        found = np.empty(min((last + 1) * _CHUNK, self.size) - begin, np.uint8).data
        self._open(first, found)
        return found[start - begin : end - begin]

    def _open(self, first: int, out: memoryview) -> None:
        """Write to `out` what is in its chunks, of which the first is the one of that number."""
        number = max(1, -(-len(out) // _CHUNK))
        size = len(out) + number * _TAG
        sealed = memoryview(os.pread(self._file, size, self._start + first * _SEALED))
        for at in range(number):
            nonce = (first + at).to_bytes(11, "big") + bytes([first + at == self._last])
            chunk = sealed[at * _SEALED : (at + 1) * _SEALED]
            try:
                self._cipher.decrypt_into(nonce, chunk, None, out[at * _CHUNK : (at + 1) * _CHUNK])
            except (InvalidTag, ValueError) as error:
                where = f"part {first + at + 1} of {self._last + 1}"
                raise DamagedError(f"{where} was changed") from error


def _open_header(head: bytes, key: X25519PrivateKey) -> tuple[bytes, int]:
    """The key of the file's content, and the bytes of its header."""
    lines = _lines(head)
    if next(lines, b"") != _VERSION:
        raise NotOpenedError("it is not encrypted with age")
    found: bytes | None = None
    length = len(_VERSION) + 1
    for line in lines:
        if line.startswith(_END):
            break
        length += len(line) + 1
        if line.startswith(_STANZA):
            body = next(lines, b"")
            length += len(body) + 1
            found = found or _unwrap(line[len(_STANZA) :], body, key)
    else:
        raise NotOpenedError("its header has no end")
    if found is None:
        raise NotOpenedError("it is sealed to other keys")
    proof = hmac.digest(_derive(found, b"header"), head[: length + len(_END.strip())], "sha256")
    if not hmac.compare_digest(b64encode(proof).rstrip(b"="), line[len(_END) :]):
        raise NotOpenedError("its header was changed")
    return found, length + len(line) + 1


def _lines(head: bytes) -> Iterator[bytes]:
    """The lines that end."""
    return iter(head.split(b"\n")[:-1])


def _unwrap(share: bytes, body: bytes, key: X25519PrivateKey) -> bytes | None:
    """The key of the content, or None where it is wrapped for another key."""
    public = key.public_key().public_bytes_raw()
    wrapped = _decode(body)
    if len(wrapped) != _FILE_KEY + _TAG:  # a longer one could open with two keys
        return None
    try:
        theirs = _decode(share)
        secret = key.exchange(X25519PublicKey.from_public_bytes(theirs))
        wrapping = _derive(secret, _VERSION + b"/X25519", salt=theirs + public)
        return ChaCha20Poly1305(wrapping).decrypt(bytes(12), wrapped, None)
    except (InvalidTag, ValueError):
        return None


def _derive(secret: bytes, purpose: bytes, *, salt: bytes | None = None) -> bytes:
    return HKDF(SHA256(), _KEY, salt, purpose).derive(secret)


def _decode(text: bytes) -> bytes:
    """What base64 without padding says; nothing where it is none."""
    try:
        return b64decode(text + b"=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        return b""
