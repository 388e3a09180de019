"""Bounded unpacking of what leaves a container: regular files and folders, within the limits.

The engine hands out a folder of a container as a tar stream. Links, devices and pipes in it never
become files here; the first of them, or a limit that is passed, ends the reading.
"""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from evaluator.files import disk_errors

_CHUNK, _PAGE = 1024 * 1024, 4096
_KINDS = (
    (tarfile.TarInfo.issym, "a symbolic link"),
    (tarfile.TarInfo.islnk, "a hard link"),
    (tarfile.TarInfo.isfifo, "a named pipe"),
    (tarfile.TarInfo.isdev, "a device"),
)


@dataclass(frozen=True)
class Unpacked:
    """What was found in an output."""

    files: int = 0  # and folders
    bytes: int = 0  # in whole pages, as memory keeps them
    oddity: str = ""  # what may not leave a container, in words; empty: nothing of that kind
    too_much: bool = False  # more than was granted


def unpack(chunks: Iterable[bytes], folder: Path, max_bytes: int, *, max_files: int) -> Unpacked:
    """Write the files of a tar stream below `folder`, which exists, without its topmost folder.

    Raises:
        tarfile.TarError: where the stream is damaged.
        BusbenchError: `disk-full`.
    """
    files = written = 0
    stream = io.BufferedReader(_Stream(chunks), _CHUNK)
    with disk_errors(folder), tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            place = _place(member)
            if place is None:
                continue  # the topmost folder itself
            files += 1
            written += -(-member.size // _PAGE) * _PAGE if member.isreg() else 0
            if files > max_files or written > max_bytes:
                return Unpacked(files, written, too_much=True)
            oddity = _oddity(member, place)
            if oddity:
                return Unpacked(files, written, oddity)
            _write(archive, member, folder / place)
            archive.members.clear()  # type: ignore[attr-defined]  # a stream never goes back
    return Unpacked(files, written)


def pack(folder: Path, sink: IO[bytes], user: int) -> None:
    """Write the regular files and folders below `folder` to `sink` as a tar owned by `user`."""

    def owned(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        member.uid = member.gid = user
        return member if member.isreg() or member.isdir() else None

    with tarfile.open(fileobj=sink, mode="w|") as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, arcname=path.name, filter=owned)


def _place(member: tarfile.TarInfo) -> PurePosixPath | None:
    parts = PurePosixPath(member.name).parts[1:]
    return PurePosixPath(*parts) if parts else None


def _oddity(member: tarfile.TarInfo, place: PurePosixPath) -> str:
    name = "".join(c if c.isprintable() else "?" for c in str(place))[:100]
    if name != str(place) or ".." in place.parts or place.is_absolute():
        return f"a file with an unusable name ({name})"
    for is_kind, words in _KINDS:
        if is_kind(member):
            return f"{words} ({name})"
    return "" if member.isreg() or member.isdir() else f"something that is no file ({name})"


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    content = archive.extractfile(member)
    assert content is not None  # it is a regular file
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o644), "wb") as sink:
        while piece := content.read(_CHUNK):
            sink.write(piece)


class _Stream(io.RawIOBase):
    """Chunks of bytes as a file that can be read forwards."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks: Iterator[bytes] = iter(chunks)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            piece = next(self._chunks, None)
            if piece is None:
                return 0
            self._rest = piece
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count
