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
        demo = subprocess.Popen(
            [sys.executable, "-m", "harness", "demo", "--out", str(out), "--runner", "docker"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        printed, errors = demo.communicate()
    finally:
        watcher.stop()
    assert demo.returncode == 0, errors[-3000:]
    yield Journey(out, errors + printed, watcher.seen(demo.pid))
