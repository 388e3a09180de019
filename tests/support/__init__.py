"""Common ground of all tests: made-up inputs, small challenges, and readers of results.

Test modules and conftests import from here, and nothing imports from a test module or a conftest.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]


def absent(message: str) -> NoReturn:
    """End a test that needs what this machine lacks: a skip, but a failure in CI.

    A test that is skipped where it ought to run would pass for one that passed.
    """
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


def soon(what: Callable[[], object], pause: Callable[[float], object] = time.sleep) -> None:
    """Wait until `what` is true. Ten minutes, because a machine may be very busy.

    Args:
        pause: how to wait so many seconds; a browser's page handles its events meanwhile.
    """
    deadline = time.monotonic() + 600
    while not what():
        assert time.monotonic() < deadline, "it never happened"
        pause(0.05)
