"""Common ground of all tests: made-up inputs, small challenges, and readers of results.

Test modules and conftests import from here, and nothing imports from a test module or a conftest.
"""

from __future__ import annotations

import os
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
