"""Files: atomic writes, digests, canonical JSON."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evaluator.errors import BusbenchError, Code


def sha256_bytes(data: bytes) -> str:
    """SHA-256 of `data`, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def canonical_json(value: Any) -> bytes:
    """The one way `value` is written where bytes are hashed or signed: sorted keys, no spaces."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def pretty_pieces(value: Any, default: Callable[[Any], Any] | None = None) -> Iterator[bytes]:
    """JSON for people, piece by piece: sorted keys, two spaces, a final newline.

    Args:
        default: makes plain what JSON does not know, when its turn comes.
    """
    encoder = json.JSONEncoder(
        sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False, default=default
    )
    for piece in encoder.iterencode(value):
        yield piece.encode()
    yield b"\n"


def pretty_json(value: Any) -> bytes:
    """What `pretty_pieces` gives, in one."""
    text = io.BytesIO()  # joining them would keep every piece of a long document at once
    text.writelines(pretty_pieces(value))
    return text.getvalue()


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's errors about `path` into one sentence with a remedy."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
            raise BusbenchError(
                Code.DISK_FULL,
                f"{path} cannot be written ({error.strerror}).",
                "Free some space or choose another folder, then run the same command again.",
            ) from error
        raise


def write_atomically(path: Path, data: bytes | Iterable[bytes], mode: int = 0o644) -> None:
    """Write `data`, or its pieces, to `path` so that a reader sees the whole file or none of it.

    Raises:
        BusbenchError: `disk-full` where the disk refuses.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as handle:
                handle.writelines([data] if isinstance(data, bytes) else data)
                handle.flush()
                os.fsync(handle.fileno())
            temporary.chmod(mode)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
