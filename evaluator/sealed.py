"""Sealed archives: a tar stream, encrypted with age, whose first member is its index.

The harness writes them; `infer` opens the images with the image key, `score` opens the labels with
the label key. Images are grey pixels as they are, since they are sealed once and read for each
evaluation: to decompress speckle takes longer than to decrypt it. Labels are PNG. Reading streams,
so memory does not grow with the number of cases.
"""

from __future__ import annotations

import io
import os
import sys
import tarfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyrage
from numpy.typing import NDArray

from evaluator.documents.base import parse
from evaluator.documents.sealed import SealedCase, SealedIndex
from evaluator.errors import BusbenchError, Code
from evaluator.files import canonical_json

INDEX = "index.json"
MAX_KEY = 4096  # characters
STDIN = Path("-")  # as the place of a key: it is in no file
_BLOCK = 1 << 16  # bytes read at once: some images
REMEDY = "Seal the split again with `busbench seal`."


def seal_archive(index: SealedIndex, files: Iterable[bytes], recipient: str) -> bytes:
    """Encrypt `index` and one file a case, in the index's order, to an age recipient."""
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


def read_identity(path: Path) -> pyrage.x25519.Identity:
    """The age identity in `path`, or `-`; raises `keys-invalid` where there is none."""
    try:
        text = _standard_input() if path == STDIN else path.read_text()
        return pyrage.x25519.Identity.from_str(text.strip())
    except (OSError, ValueError, pyrage.IdentityError) as error:
        where = "Standard input" if path == STDIN else path
        raise BusbenchError(
            Code.KEYS_INVALID,
            f"{where} has no age identity that can be read.",
            "Give the key folder that `busbench keys new` made.",
        ) from error


@contextmanager
def open_sealed(
    path: Path, key: Path | pyrage.x25519.Identity
) -> Iterator[tuple[SealedIndex, Iterator[tuple[SealedCase, bytes]]]]:
    """Open a sealed archive: its index, and its cases one after the other.

    Args:
        key: the age identity that opens it, or the file that contains it.

    Raises:
        BusbenchError: `keys-invalid` where the key does not open it, `bundle-invalid` where the
            archive is missing or damaged.
    """
    identity = read_identity(key) if isinstance(key, Path) else key
    with _decrypted(path, identity) as stream, _damage(path):
        archive = tarfile.open(fileobj=stream, mode="r|", bufsize=_BLOCK)  # noqa: SIM115
        index = parse(
            SealedIndex, _member(archive, INDEX), str(path), code=Code.BUNDLE_INVALID, remedy=REMEDY
        )
        yield index, ((case, _member(archive, case.file)) for case in index.cases)


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    member = archive.next()
    content = archive.extractfile(member) if member is not None else None
    if member is None or content is None or member.name != name:
        raise tarfile.ReadError(f"{name} is not where the index says")
    # a stream never goes back, and would remember every member
    archive.members.clear()  # type: ignore[attr-defined]
    return content.read()


@contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except tarfile.TarError as error:
        raise BusbenchError(Code.BUNDLE_INVALID, f"{path} is damaged ({error}).", REMEDY) from error


@contextmanager
def _decrypted(path: Path, identity: pyrage.x25519.Identity) -> Iterator[BinaryIO]:
    """The plaintext as a stream: a thread decrypts into a pipe while the caller reads."""
    try:
        source = path.open("rb")
    except OSError as error:
        raise BusbenchError(Code.BUNDLE_INVALID, f"{path} cannot be read.", REMEDY) from error
    read_end, write_end = os.pipe()
    refused: list[pyrage.DecryptError] = []

    def pump() -> None:
        try:
            with source, os.fdopen(write_end, "wb", 16 * _BLOCK) as sink:
                pyrage.decrypt_io(source, sink, [identity])
        except pyrage.DecryptError as error:
            refused.append(error)
        except OSError:
            pass  # the reader stopped early and closed its end

    thread = threading.Thread(target=pump, daemon=True)
    thread.start()
    try:
        with os.fdopen(read_end, "rb", 16 * _BLOCK) as stream:
            yield stream
    finally:
        thread.join()
        if refused:
            raise BusbenchError(
                Code.KEYS_INVALID,
                f"{path} cannot be decrypted with this key ({refused[0]}).",
                "Give the keys that it was sealed to; the image key opens images only.",
            ) from refused[0]


def decode_image(data: bytes, case: SealedCase, where: Path) -> NDArray[np.uint8]:
    """A sealed image (H, W) uint8: its pixels, line after line, of the size that the index says."""
    if len(data) != case.height * case.width:
        raise BusbenchError(
            Code.BUNDLE_INVALID, f"{case.file} in {where} has another size than its index.", REMEDY
        )
    return np.frombuffer(data, np.uint8).reshape(case.height, case.width)
