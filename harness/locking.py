"""A lock file for one process or thread at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from evaluator.files import disk_errors


@contextmanager
def locked(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock file `path` for one process or thread at a time; it is removed at the end.

    The kernel releases the lock of a process that dies, however it dies.

    Args:
        waiting: called once where another process or thread has the lock now.

    Raises:
        BusbenchError: where the folder cannot be written, see `disk_errors`.
    """
    descriptor = _open_locked(path, waiting)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # still locked, so whoever waits for it makes another
        os.close(descriptor)


def _open_locked(path: Path, waiting: Callable[[], None]) -> int:
    while True:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if _is_open_as(descriptor, path):
            return descriptor
        os.close(descriptor)  # the last process to have it removed the file


def _is_open_as(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
