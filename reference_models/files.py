"""Atomic writes of files, and digests of their bytes."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reference_models.errors import MachineError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_RIGHT = (errno.EROFS, errno.EACCES, errno.EPERM)
_NO_FOLDER = (errno.ENOTDIR, errno.EEXIST)  # a file is where a folder should be
Data = bytes | memoryview


def sha256_bytes(data: Data) -> str:
    """SHA-256 of `data`, as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_pixels(array: NDArray[Any]) -> str:
    """SHA-256 over `HxW:` and the row-major uint8 pixels of a 2-D image (bool taken as 0/1).

    The digest a training bundle states for its images and masks: however the file was encoded,
    one image has one digest.
    """
    height, width = array.shape
    header = f"{height}x{width}:".encode()
    return sha256_bytes(header + np.ascontiguousarray(array, dtype=np.uint8).tobytes())


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusal to write `path` into one sentence with a remedy."""
    try:
        yield
    except OSError as error:
        if error.errno not in (*_NO_SPACE, *_NO_RIGHT, *_NO_FOLDER):
            raise
        raise MachineError(
            f"{path} cannot be written ({error.strerror}).",
            "Free some space or name another folder, then run the same command to resume.",
        ) from error


def write_atomically(path: Path, *parts: Data) -> None:
    """Write `parts` one after another to `path`; a reader sees the whole file or none of it.

    Raises:
        MachineError: where the disk refuses.
    """
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as handle:
                handle.writelines(parts)
                handle.flush()
                os.fsync(handle.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
