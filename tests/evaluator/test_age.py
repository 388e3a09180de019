"""Files of another implementation of age: read whole, at any place, and refused when changed."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pyrage
import pytest

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
