"""Sealed archives: a tar stream, encrypted with age, whose first member is its index.

The harness writes them; `infer` opens the images with the image key, `score` opens the labels with
the label key. Images are grey pixels as they are, since they are sealed once and read for each
evaluation: to decompress speckle takes longer than to decrypt it, and the sizes in the index say
where each image is, so that threads read some each. Labels are PNG, one after the other. Memory
does not grow with the number of cases.
"""

from __future__ import annotations

import io
import sys
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from evaluator.age import AgeFile, DamagedError, NotOpenedError, parse_identity
from evaluator.documents.base import parse
from evaluator.documents.sealed import SealedCase, SealedIndex
from evaluator.errors import BusbenchError, Code
from evaluator.files import canonical_json

INDEX = "index.json"
MAX_KEY = 4096  # characters
STDIN = Path("-")  # as the place of a key: it is in no file
_BLOCK = 1 << 18  # bytes read at once: some images
_NAME, _SIZE = slice(0, 100), slice(124, 135)  # in the header of a member, which is a block long
REMEDY = "Seal the split again with `busbench seal`."


def seal_archive(index: SealedIndex, files: Iterable[bytes], recipient: str) -> bytes:
    """Encrypt `index` and one file a case, in the index's order, to an age recipient."""
    import pyrage  # noqa: PLC0415  the harness alone seals: no image has it

    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        # what a component may not know is left out: nulls would be half of a long index
        known = index.model_dump(mode="json", by_alias=True, exclude_none=True)
        _add(archive, INDEX, canonical_json(known))
        for case, data in zip(index.cases, files, strict=True):
            _add(archive, case.file, data)
    return bytes(pyrage.encrypt(plain.getvalue(), [pyrage.x25519.Recipient.from_str(recipient)]))


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # owner, mode and time stay at their defaults: same bytes
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


@cache
def _standard_input() -> str:
    """What standard input gave: it can be read once, and archives are opened more than once."""
    return sys.stdin.read(MAX_KEY)


def read_identity(path: Path) -> X25519PrivateKey:
    """The age identity in `path`, or `-`; raises `keys-invalid` where there is none."""
    try:
        return parse_identity((_standard_input() if path == STDIN else path.read_text()).strip())
    except (OSError, ValueError) as error:
        where = "Standard input" if path == STDIN else path
        raise BusbenchError(
            Code.KEYS_INVALID,
            f"{where} has no age identity that can be read.",
            "Give the key folder that `busbench keys new` made.",
        ) from error


class Block(NamedTuple):
    """Images that follow on each other in an archive."""

    cases: Sequence[SealedCase]
    pixels: NDArray[np.uint8]  # of all of them, flat, and what is between them
    begins: Sequence[int]  # the place in `pixels` of each one's first


class Cases:
    """The cases of an open archive and their files: one after the other, or images at any place."""

    def __init__(self, where: Path, plain: AgeFile, archive: tarfile.TarFile) -> None:
        self._where, self._plain, self._archive = where, plain, archive
        self.index = parse(
            SealedIndex,
            _member(archive, INDEX),
            str(where),
            code=Code.BUNDLE_INVALID,
            remedy=REMEDY,
        )
        begin = archive.offset  # of the next member
        sizes = (_blocks(case.height * case.width) for case in self.index.cases)
        self._begins = list(accumulate(sizes, initial=begin))

    def __iter__(self) -> Iterator[tuple[SealedCase, bytes]]:
        """Each case and its file, once."""
        return ((case, _member(self._archive, case.file)) for case in self.index.cases)

    def images(self, start: int, end: int) -> list[tuple[SealedCase, NDArray[np.uint8]]]:
        """The cases from `start` to `end` and their images (H, W); see `block`."""
        cases, pixels, begins = self.block(start, end)
        return [
            (case, pixels[at : at + case.height * case.width].reshape(case.height, case.width))
            for case, at in zip(cases, begins, strict=True)
        ]

    def block(self, start: int, end: int) -> Block:
        """The images of the cases from `start` to `end`, in any order, from any thread.

        Raises:
            BusbenchError: `bundle-invalid` where the archive is damaged, or an image has another
                size than the index says.
        """
        cases = self.index.cases[start:end]
        first = self._begins[start]
        with _damage(self._where):
            read = self._plain.read(first, self._begins[start + len(cases)])
            begins = [
                self._content(read, begin - first, case)
                for case, begin in zip(cases, self._begins[start:], strict=False)
            ]
        return Block(cases, np.frombuffer(read, np.uint8), begins)

    def _content(self, read: memoryview, at: int, case: SealedCase) -> int:
        """Where the content of the member at `at` begins, which is the image of a case."""
        head, begin = bytes(read[at : at + _SIZE.stop]), at + tarfile.BLOCKSIZE
        if head[_NAME].rstrip(b"\0") != case.file.encode():
            raise _elsewhere(case.file)
        size = case.height * case.width
        if int(head[_SIZE], 8) != size or begin + size > len(read):
            raise _of_another_size(case, self._where)
        return begin


def _blocks(size: int) -> int:
    """Bytes of a member of so many: in whole blocks, behind one that is its header."""
    return (1 - -size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


@contextmanager
def open_sealed(path: Path, key: Path | str) -> Iterator[tuple[SealedIndex, Cases]]:
    """Open a sealed archive: its index and its cases.

    Args:
        key: the age identity that opens it, or the file that contains it.

    Raises:
        BusbenchError: `keys-invalid` where the key does not open it, `bundle-invalid` where the
            archive is missing or damaged.
    """
    identity = read_identity(key) if isinstance(key, Path) else parse_identity(key.strip())
    with _opened(path) as source, _damage(path):
        try:
            plain = AgeFile(source, identity)
        except NotOpenedError as error:
            raise BusbenchError(
                Code.KEYS_INVALID,
                f"{path} cannot be decrypted with this key: {error}.",
                "Give the keys that it was sealed to; the image key opens images only.",
            ) from error
        stream = io.BufferedReader(_Stream(plain), _BLOCK)
        archive = tarfile.open(fileobj=stream, mode="r|", bufsize=_BLOCK)  # noqa: SIM115
        cases = Cases(path, plain, archive)
        yield cases.index, cases


class _Stream(io.RawIOBase):
    """The content of an age file from its beginning."""

    def __init__(self, plain: AgeFile) -> None:
        self._plain, self._at = plain, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        found = self._plain.read(self._at, self._at + len(buffer))
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        source = path.open("rb")
    except OSError as error:
        raise BusbenchError(Code.BUNDLE_INVALID, f"{path} cannot be read.", REMEDY) from error
    with source:
        yield source


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.next()
    content = archive.extractfile(member) if member is not None else None
    if member is None or content is None or member.name != name:
        raise _elsewhere(name)
    # a stream never goes back, and would remember every member
    archive.members.clear()  # type: ignore[attr-defined]
    return content.read()


def _elsewhere(name: str) -> tarfile.TarError:
    return tarfile.ReadError(f"{name} is not where the index says")


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, DamagedError) as error:
        raise BusbenchError(Code.BUNDLE_INVALID, f"{path} is damaged ({error}).", REMEDY) from error


def decode_image(data: bytes | memoryview, case: SealedCase, where: Path) -> NDArray[np.uint8]:
    """A sealed image (H, W) uint8: its pixels, line after line, of the size that the index says."""
    if len(data) != case.height * case.width:
        raise _of_another_size(case, where)
    return np.frombuffer(data, np.uint8).reshape(case.height, case.width)


def _of_another_size(case: SealedCase, where: Path) -> BusbenchError:
    return BusbenchError(
        Code.BUNDLE_INVALID, f"{case.file} in {where} has another size than its index.", REMEDY
    )
