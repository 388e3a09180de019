"""Common ground of all tests: made-up inputs, small challenges, and readers of results.

Test modules and conftests import from here, and nothing imports from a test module or a conftest.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

import pytest

ROOT = Path(__file__).resolve().parents[2]
Found = TypeVar("Found")


def absent(message: str) -> NoReturn:
    """End a test that needs what this machine lacks: a skip, but a failure in CI.

    A test that is skipped where it ought to run would pass for one that passed.
    """
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def soon(
    what: Callable[[], Found],
    pause: Callable[[float], object] = time.sleep,
    *,
    seconds: float = 600,
) -> Found:
    """Wait until `what` is true, and give what it is.

    Args:
        pause: how to wait so many seconds; a browser's page handles its events meanwhile.
        seconds: at most. Ten minutes, because a machine may be very busy.
    """
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, "it never happened"
        pause(0.05)
    return found


def is_alive(pid: int) -> bool:
    """Whether a process is there that has not ended: one that nobody waits for does not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
