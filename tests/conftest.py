"""Fixtures of all components, and the markers that follow from what a test uses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import DockerException
from hypothesis import settings
from playwright.sync_api import Browser, sync_playwright

from harness.challenge import BASE_IMAGE
from harness.cli import screen
from harness.locking import locked
from harness.sandbox import process_runner
from harness.sandbox.sources import BASE_VARIABLE
from tests.support import ROOT, absent
from tests.support.disk_space import check_disk_space
from tests.support.forked_stages import Server
from tests.support.json_output import checked
from tests.support.scheduling import LongestFirst, Stopwatch

REAL_DATA = ROOT.parent / "shared" / "data"
CHROMIUM_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
settings.register_profile("no-clock", deadline=None)  # how long an example takes proves nothing
settings.load_profile("no-clock")

# A test that uses one of these fixtures, directly or through another, gets the marker.
MARKERS = {
    "engine": "docker",
    "real_data": "real_data",
    "browser": "browser",
    "tritonserver": "triton",
    "slurm": "slurm",
    "latex_compiler": "latex",
    "gpu": "gpu",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test by its fixtures."""
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if marker := MARKERS.get(fixture):
                item.add_marker(marker)


def pytest_configure(config: pytest.Config) -> None:
    """Where tests are handed out: keep the time of each file, and see to disk space."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Stopwatch(config))
        check_disk_space(config)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LongestFirst:
    """Let xdist hand out whole files, the longest first."""
    return LongestFirst(config, log)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real subsets; tests that need it skip where it is missing."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"the real subsets are not at {REAL_DATA}")
    return REAL_DATA


@pytest.fixture(scope="session")
def stage_server() -> Iterator[Server]:
    """A process that has imported the evaluator's stages."""
    server = Server()
    yield server
    server.close()


@pytest.fixture(scope="module")
def forked_stages(stage_server: Server) -> Iterator[None]:
    """Fork the stages of this file's evaluations, of which there are many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process_runner, "start", stage_server.start)
        yield


@pytest.fixture(scope="session")
def engine() -> docker.DockerClient:
    """A Docker engine. Without one, container tests skip on a laptop and fail in CI."""
    try:
        client = docker.from_env()
        client.ping()
    except DockerException:
        absent("no Docker engine answers, so container tests cannot run")
    return client


@pytest.fixture(scope="session", autouse=True)
def chosen_base() -> None:
    """Choose the base image of a machine without a registry: one that was built under the tag."""
    with suppress(DockerException):
        tag = BASE_IMAGE.partition("@")[0]
        if not docker.from_env().images.get(tag).attrs.get("RepoDigests"):
            os.environ.setdefault(BASE_VARIABLE, tag)


@pytest.fixture(scope="session", autouse=True)
def declared_json() -> Iterator[None]:
    """Compare all JSON that verbs print in this process with the schemas of the documentation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(screen, "json", checked(json.dumps))
        yield


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real Chromium. Without one, tests skip on a laptop and fail in CI."""
    found = os.environ.get("BUSBENCH_CHROMIUM") or shutil.which("chromium")
    if found is None:
        absent("no chromium is installed (Debian's package `chromium`), so pages are not tested")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=found, args=list(CHROMIUM_FLAGS))
        yield started
        started.close()


@pytest.fixture(scope="session")
def tritonserver() -> Path:
    """A Triton server, installed once as `make triton` does; without one, tests skip or fail."""
    if named := os.environ.get("BUSBENCH_TRITONSERVER"):
        return Path(named)
    return Path(installed("triton", "Triton server").rpartition("=")[2])


@pytest.fixture(scope="session")
def nnunet() -> Path:
    """A Python that has nnU-Net, installed once as `make nnunet` does; else tests skip or fail."""
    return ROOT / installed("nnunet", "nnU-Net")


@pytest.fixture(scope="session")
def keras_python() -> Path:
    """A Python that has Keras, installed once as `make keras` does; else tests skip or fail."""
    return ROOT / installed("keras", "Keras")


def installed(target: str, what: str) -> str:
    """The last line of a target that installs what only some tests need."""
    with locked(Path(tempfile.gettempdir()) / f"busbench-{target}.lock"):  # one worker installs it
        done = subprocess.run(
            ["make", "--no-print-directory", target, f"PYTHON={sys.executable}"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["make said nothing"])[-1]
        absent(f"no {what} can be installed: {last}")
    return done.stdout.strip().splitlines()[-1]
