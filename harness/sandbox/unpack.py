"""Bounded unpacking of what leaves a container: regular files and folders, within the limits.

The engine hands out a folder of a container as a tar stream. Links, devices and pipes in it never
become files here, nor what a tool of this machine obeys where it finds it: names that begin with a
dot (`.git`, `.envrc`, `.vscode`), and the `HEAD` of a bare repository. The first of them, or a
limit that is passed, ends the reading.
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
_MAX_NAME, _MAX_PATH = 255, 4095  # bytes that Linux takes, in a folder's entry and in a path
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


def unpack(
    chunks: Iterable[bytes],
    folder: Path,
    max_bytes: int,
    *,
    max_files: int,
    pass_over: bool = False,
) -> Unpacked:
    """Write the files of a tar stream below `folder`, which exists, without its topmost folder.

    Args:
        pass_over: whether what may not leave a container is left out, rather than the end.

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
            oddity = _oddity(member, place, folder) or _write(archive, member, folder / place)
            if oddity and not pass_over:
                return Unpacked(files, written, oddity)
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


def _oddity(member: tarfile.TarInfo, place: PurePosixPath, folder: Path) -> str:
    """What may not leave a container about a member, in words; empty where it may."""
    name = _shown(place)
    if not str(place).isprintable() or ".." in place.parts or place.is_absolute():
        return f"a file with an unusable name ({name})"
    longest = max(len(os.fsencode(part)) for part in place.parts)
    if longest > _MAX_NAME or len(os.fsencode(folder / place)) > _MAX_PATH:
        return f"a file whose name or path is too long ({name})"
    if any(part.startswith(".") for part in place.parts):
        return f"a file or folder whose name begins with a dot ({name})"
    if member.isreg() and place.name.casefold() == "head":  # it makes its folder a Git repository
        return f"a file that Git would act on ({name})"
    for is_kind, words in _KINDS:
        if is_kind(member):
            return f"{words} ({name})"
    return "" if member.isreg() or member.isdir() else f"something that is no file ({name})"


def _shown(place: PurePosixPath) -> str:
    """The beginning of a name, or of a long one its two ends."""
    name = "".join(c if c.isprintable() else "?" for c in str(place))
    return name if len(name) <= 100 else f"{name[:60]}…{name[-39:]}"


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> str:
    """Write a member; what is odd about it where its place is taken, as by another spelling."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    try:
        if member.isdir():
            path.mkdir(parents=True, exist_ok=True)
            return ""
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, flags, 0o644)
    except (FileExistsError, NotADirectoryError):
        return f"two things of one name ({_shown(PurePosixPath(path.name))})"
    content = archive.extractfile(member)
    assert content is not None  # it is a regular file
    with os.fdopen(descriptor, "wb") as sink:
        while piece := content.read(_CHUNK):
            sink.write(piece)
    return ""


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
