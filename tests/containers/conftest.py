"""One real journey in containers, watched from outside while it runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import docker
import pytest

from tests.support import ROOT
from tests.support.containers import Journey, Watcher


@pytest.fixture(scope="session")
def journey(
    engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Journey]:
    out = tmp_path_factory.mktemp("journey") / "demo"
    watcher = Watcher(engine)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "harness", "demo", "--out", str(out), "--runner", "docker"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        watcher.stop()
    assert done.returncode == 0, done.stderr[-3000:]
    yield Journey(out, done.stdout, watcher.seen)
