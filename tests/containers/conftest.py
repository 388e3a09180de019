"""One real journey in containers, watched from outside while it runs."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
import requests
from docker.errors import NotFound

from harness.sandbox.profile import LABEL

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Journey:
    """A finished `busbench demo --runner docker` and what the engine said of its containers."""

    out: Path
    printed: str
    containers: dict[str, dict[str, Any]]  # stage -> `docker inspect` while it ran


class Watcher:
    """Inspects every container of ours as it starts, through the engine's own events."""

    def __init__(self, client: docker.DockerClient) -> None:
        self.seen: dict[str, dict[str, Any]] = {}
        self._client = client
        self._events = client.events(decode=True, filters={"event": "start", "label": LABEL})
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        try:
            for event in self._events:
                stage = event["Actor"]["Attributes"][LABEL]
                try:
                    self.seen[stage] = self._client.api.inspect_container(event["id"])
                except NotFound:
                    continue  # so short that it is gone; the tests name the stages they need
        except requests.RequestException:
            return

    def stop(self) -> None:
        self._events.close()


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
