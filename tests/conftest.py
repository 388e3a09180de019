"""What tests of all rooms share: real data, the engine, small stores."""

from __future__ import annotations

import os
from pathlib import Path

import docker
import pytest
from docker.errors import DockerException

ROOT = Path(__file__).resolve().parents[1]
REAL_DATA = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real subsets; tests that need it skip where it is missing."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"the real subsets are not at {REAL_DATA}")
    return REAL_DATA


@pytest.fixture(scope="session")
def engine() -> docker.DockerClient:
    """A Docker engine. Without one, container tests skip on a laptop and fail in CI."""
    try:
        client = docker.from_env()
        client.ping()
    except DockerException:
        message = "no Docker engine answers, so container tests cannot run"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return client
