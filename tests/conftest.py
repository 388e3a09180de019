"""What tests of all components share: real data, the engine, small stores."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import docker
import pytest
from docker.errors import DockerException
from hypothesis import settings

from tests.support import ROOT

REAL_DATA = ROOT.parent / "shared" / "data"
settings.register_profile("no-clock", deadline=None)  # how long an example takes proves nothing
settings.load_profile("no-clock")


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


@pytest.fixture(scope="session")
def tritonserver() -> Path:
    """A Triton server, installed once as `make triton` does. Without one, tests skip or, in CI,
    fail."""
    if named := os.environ.get("BUSBENCH_TRITONSERVER"):
        return Path(named)
    done = subprocess.run(
        ["make", "--no-print-directory", "triton", f"PYTHON={sys.executable}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return Path(done.stdout.rstrip().rpartition("=")[2])
    message = f"no Triton server can be installed: {done.stderr.strip().splitlines()[-1]}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)
