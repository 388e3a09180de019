"""Files of another implementation of age: read whole, at any place, and refused when changed."""

from __future__ import annotations

import hmac
import os
import random
from base64 import b64encode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from evaluator.age import AgeFile, DamagedError, NotOpenedError, parse_identity

CHUNK = 1 << 16


def sealed(path: Path, content: bytes, *others: str) -> str:
    """The text of the key that opens `content`, which is encrypted to `others`, too."""
    identity = pyrage.x25519.Identity.generate()
    recipients = [*map(pyrage.x25519.Recipient.from_str, others), identity.to_public()]
    path.write_bytes(pyrage.encrypt(content, recipients))
    return str(identity)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7])
def test_no_byte_of_another_implementation_is_read_otherwise(tmp_path: Path, size: int) -> None:
    content, path = os.urandom(size), tmp_path / "some.age"
    other = str(pyrage.x25519.Identity.generate().to_public())
    key = sealed(path, content, other)
    draw = random.Random(size)
    with path.open("rb") as file:
        found = AgeFile(file, parse_identity(key))
        assert found.size == size and found.read(0, size + 9) == content
        for _ in range(20):
            start, end = sorted(draw.choices(range(size + 1), k=2))
            assert found.read(start, end) == content[start:end]


def test_no_letter_of_a_key_can_be_another() -> None:
    text = str(pyrage.x25519.Identity.generate())
    parse_identity(text)
    parse_identity(text.lower())
    wrong = [text[:-1], text + "Q", text[:20].lower() + text[20:], "", "1", "AGE-SECRET-KEY-1"]
    draw = random.Random(0)
    for _ in range(50):
        place = draw.randrange(len("AGE-SECRET-KEY-1"), len(text))
        letter = draw.choice("QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L".replace(text[place], ""))
        wrong.append(text[:place] + letter + text[place + 1 :])
    for each in wrong:
        with pytest.raises(ValueError):
            parse_identity(each)
        with pytest.raises(pyrage.IdentityError):
            pyrage.x25519.Identity.from_str(each)


def test_no_other_key_opens_a_file(tmp_path: Path) -> None:
    path = tmp_path / "some.age"
    sealed(path, b"labels")
    with path.open("rb") as file, pytest.raises(NotOpenedError, match="sealed to other keys"):
        AgeFile(file, parse_identity(str(pyrage.x25519.Identity.generate())))


def cut(data: bytes) -> bytes:
    return data[:-1]


def without_last_chunk(data: bytes) -> bytes:
    return data[: -(100 + 16)]


def swapped(data: bytes) -> bytes:
    """The first two chunks in the other order."""
    sealed_chunk, begin = CHUNK + 16, len(data) - 2 * (CHUNK + 16) - 116
    first, second = data[begin : begin + sealed_chunk], data[begin + sealed_chunk : -116]
    return data[:begin] + second + first + data[-116:]


def flipped(data: bytes) -> bytes:
    return data[:-200] + bytes([data[-200] ^ 1]) + data[-199:]


def with_more(data: bytes) -> bytes:
    return data + bytes(100)


@pytest.mark.parametrize("change", [cut, without_last_chunk, swapped, flipped, with_more])
def test_no_change_of_the_content_goes_unseen(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "some.age"
    key = sealed(path, bytes(2 * CHUNK + 100))
    data = path.read_bytes()
    path.write_bytes(change(data))
    with path.open("rb") as file, pytest.raises(DamagedError):
        AgeFile(file, parse_identity(key)).read(0, 3 * CHUNK)


def test_no_byte_of_a_header_can_be_another(tmp_path: Path) -> None:
    path = tmp_path / "some.age"
    key = parse_identity(sealed(path, b"labels"))
    data = path.read_bytes()
    for place in range(len(data) - 16 - 6):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with path.open("rb") as file, pytest.raises((NotOpenedError, DamagedError)):
            AgeFile(file, key)


# --- files made by hand: what another writer may get wrong, or a forger right --------------------

Chunks = list[tuple[bytes, bool]]  # what each contains, and whether it says that it is the last
FULL, REST = bytes(CHUNK), b"the end"


def derived(secret: bytes, purpose: bytes, salt: bytes | None = None) -> bytes:
    return HKDF(SHA256(), 32, salt, purpose).derive(secret)


def bare(data: bytes) -> bytes:
    """Base64 without padding."""
    return b64encode(data).rstrip(b"=")


def made(
    chunks: Chunks, file_key: bytes = bytes(range(16)), more: bytes = b""
) -> tuple[bytes, str]:
    """A file of these chunks, all of them sealed as age says, and the text of its key.

    Args:
        more: stanzas behind ours in the header.
    """
    identity = pyrage.x25519.Identity.generate()
    theirs = parse_identity(str(identity)).public_key()
    ephemeral = X25519PrivateKey.generate()
    share = ephemeral.public_key().public_bytes_raw()
    salt = share + theirs.public_bytes_raw()
    wrapping = derived(ephemeral.exchange(theirs), b"age-encryption.org/v1/X25519", salt)
    body = ChaCha20Poly1305(wrapping).encrypt(bytes(12), file_key, None)
    head = b"age-encryption.org/v1\n-> X25519 %s\n%s\n%s---" % (bare(share), bare(body), more)
    proof = hmac.digest(derived(file_key, b"header"), head, "sha256")
    nonce = os.urandom(16)
    cipher = ChaCha20Poly1305(derived(file_key, b"payload", nonce))
    sealed_chunks = [
        cipher.encrypt(number.to_bytes(11, "big") + bytes([last]), content, None)
        for number, (content, last) in enumerate(chunks)
    ]
    return head + b" " + bare(proof) + b"\n" + nonce + b"".join(sealed_chunks), str(identity)


def whole(path: Path, key: str) -> bytes:
    with path.open("rb") as file:
        found = AgeFile(file, parse_identity(key))
        return bytes(found.read(0, found.size))


def read_by_pyrage(data: bytes, key: str) -> bytes:
    return bytes(pyrage.decrypt(data, [pyrage.x25519.Identity.from_str(key)]))


@pytest.mark.parametrize(
    "chunks", [[(b"", True)], [(REST, True)], [(FULL, True)], [(FULL, False), (REST, True)]]
)
@pytest.mark.parametrize("more", [b"", b"-> other-grease 1 2\nAAAA\n", b"-> x\n\n"])
def test_a_file_made_by_hand_is_what_another_implementation_reads(
    tmp_path: Path, chunks: Chunks, more: bytes
) -> None:
    data, key = made(chunks, more=more)
    (tmp_path / "some.age").write_bytes(data)
    content = b"".join(content for content, _ in chunks)
    assert whole(tmp_path / "some.age", key) == read_by_pyrage(data, key) == content


@pytest.mark.parametrize(
    "chunks",
    [
        [(FULL, False), (b"", True)],  # nothing in the last of several
        [(FULL, False), (FULL, False), (b"", True)],
        [(FULL, False)],  # none says that it is the last
        [(FULL, False), (REST, False)],
        [(FULL, True), (REST, True)],  # one says so too early
        [(REST, False), (REST, True)],  # one in the middle is short
        [(FULL, False), (REST, False), (FULL, True)],
        [(FULL + b"x", True)],  # one is too long
        [],
    ],
)
def test_chunks_that_are_well_sealed_and_wrongly_cut_are_refused(
    tmp_path: Path, chunks: Chunks
) -> None:
    data, key = made(chunks)
    (tmp_path / "some.age").write_bytes(data)
    with pytest.raises(DamagedError):
        whole(tmp_path / "some.age", key)
    with pytest.raises(pyrage.DecryptError):
        read_by_pyrage(data, key)


@pytest.mark.parametrize("length", [0, 15, 17, 32])
def test_no_key_of_the_content_has_another_length(tmp_path: Path, length: int) -> None:
    data, key = made([(REST, True)], file_key=bytes(length))
    (tmp_path / "some.age").write_bytes(data)
    with pytest.raises(NotOpenedError):
        whole(tmp_path / "some.age", key)
    with pytest.raises(pyrage.DecryptError):
        read_by_pyrage(data, key)


@pytest.mark.parametrize(
    "change",
    [
        lambda head: head.replace(b"\n---", b"\n-> other\nAAAA\n---"),  # one more
        lambda head: head.replace(b"-> kept\nAAAA\n", b""),  # one less
        lambda head: head.replace(b"\n", b"\r\n"),
        lambda head: head.replace(b"--- ", b"---  "),
        lambda head: head.replace(b"-> kept", b"-> kept" * 10_000),  # too long
        lambda head: head[: head.index(b"---")],  # no end
    ],
)
def test_no_header_that_was_changed_opens_its_content(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    data, key = made([(REST, True)], more=b"-> kept\nAAAA\n")
    end = data.index(b"\n", data.index(b"---")) + 1
    (tmp_path / "some.age").write_bytes(change(data[:end]) + data[end:])
    with pytest.raises(NotOpenedError):
        whole(tmp_path / "some.age", key)


def test_a_changed_chunk_is_refused_in_every_thread_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "some.age"
    content = os.urandom(6 * CHUNK + 100)
    key = sealed(path, content)
    data = bytearray(path.read_bytes())
    begin = len(data) - 6 * (CHUNK + 16) - 116
    data[begin + 2 * (CHUNK + 16) + 5] ^= 1
    path.write_bytes(data)
    spans = [(n * CHUNK + 9, (n + 1) * CHUNK + 9) for n in range(6)] * 6
    with path.open("rb") as file, ThreadPoolExecutor(8) as pool:
        found = AgeFile(file, parse_identity(key))
        tasks = [pool.submit(found.read, *span) for span in spans]
        for (start, end), task in zip(spans, tasks, strict=True):
            if start < 3 * CHUNK and end > 2 * CHUNK:
                assert isinstance(task.exception(), DamagedError)
            else:
                assert task.result() == content[start:end]


@pytest.mark.parametrize("left", [0, 100, 3 * CHUNK])
def test_a_file_that_is_cut_while_it_is_open_is_refused(tmp_path: Path, left: int) -> None:
    path = tmp_path / "some.age"
    key = sealed(path, bytes(4 * CHUNK))
    with path.open("rb") as file:
        found = AgeFile(file, parse_identity(key))
        os.truncate(path, left)
        with pytest.raises(DamagedError):
            found.read(0, found.size)
