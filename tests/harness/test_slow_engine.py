"""An engine that answers late, or never: on what a killed harness left, and during a stage."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingMixIn, UnixStreamServer
from urllib.parse import urlsplit

import pytest

from evaluator.errors import BusbenchError
from harness.challenge import Challenge
from harness.sandbox import docker_runner
from harness.sandbox.docker_runner import DockerRunner, connect, remove_orphans
from harness.sandbox.owner import owner
from harness.sandbox.profile import OWNER_LABEL

HOST, BOOT, NAMESPACE, PID, _ = owner().split("/")
GONE = f"{HOST}/{BOOT}/{NAMESPACE}/{PID}/1"  # a process before this one
STRANGE = [f"{HOST}/{BOOT}/{NAMESPACE}/x/1", "////", "", f"{HOST}/{BOOT}/{NAMESPACE}/²/1"]


class Engine(ThreadingMixIn, UnixStreamServer):
    """An engine's interface, which never answers on what is in `stuck`, and late on `slow`."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), Handler)
        self.containers: dict[str, str] = {}  # id -> owner label
        self.stuck: set[str] = set()
        self.slow: set[str] = set()
        self.asked: list[tuple[str, str]] = []
        self.over = threading.Event()


class Handler(BaseHTTPRequestHandler):
    server: Engine
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path.removeprefix("/v1.41")
        self.server.asked.append(("GET", path))
        self._wait(path)
        listed: list[object] = [
            {"Id": name, "Names": [], "Labels": {OWNER_LABEL: label} if label else None}
            for name, label in self.server.containers.items()
        ]
        answers: dict[str, object] = {
            "/version": {"ApiVersion": "1.41"},
            "/containers/json": listed,
            "/volumes": {"Volumes": None},
        }
        self._answer(200, answers.get(path, "OK"))

    def do_DELETE(self) -> None:
        path = urlsplit(self.path).path.removeprefix("/v1.41")
        self.server.asked.append(("DELETE", path))
        self._wait(path)
        self.server.containers.pop(path.rpartition("/")[2], None)
        self._answer(204, "")

    def _wait(self, path: str) -> None:
        if any(name in path for name in self.server.stuck):
            self.server.over.wait()
        if any(name in path for name in self.server.slow):
            time.sleep(1.5)

    def _answer(self, status: int, value: object) -> None:
        data = json.dumps(value).encode() if status == 200 else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def address_string(self) -> str:
        return "local"


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    with Engine(tmp_path / "e.sock") as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/e.sock")
        monkeypatch.setattr(docker_runner, "ORPHAN_SECONDS", 1)
        yield server
        server.over.set()
        server.shutdown()


@pytest.mark.parametrize("stuck", [0, 1, 7])
def test_no_container_keeps_the_others_from_being_removed(engine: Engine, stuck: int) -> None:
    engine.containers = {f"{number:064x}": GONE for number in range(12)}
    engine.stuck = {f"{number:064x}" for number in range(stuck)}
    began = time.monotonic()
    remove_orphans()
    assert time.monotonic() - began < 10
    assert set(engine.containers) == engine.stuck


def test_no_container_is_inspected(engine: Engine) -> None:
    engine.containers = {f"{number:064x}": label for number, label in enumerate((GONE, owner()))}
    remove_orphans()
    assert not [path for verb, path in engine.asked if verb == "GET" and f"{0:060x}" in path]


def test_no_container_of_a_living_or_strange_owner_is_removed(engine: Engine) -> None:
    """An image may bring any label, and a container of anybody's has it then."""
    kept = {f"{number:064x}": label for number, label in enumerate([owner(), *STRANGE])}
    engine.containers = dict(kept)
    remove_orphans()
    assert engine.containers == kept


def test_an_engine_that_lists_nothing_in_time_is_named(engine: Engine) -> None:
    engine.stuck = {"containers/json"}
    with pytest.raises(BusbenchError) as refused:
        remove_orphans()
    assert refused.value.code == "engine-unavailable"


def test_a_stage_does_not_fail_because_a_busy_engine_answers_late(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A training of a day would end with one answer that took longer than Docker's default."""
    monkeypatch.setattr(docker_runner, "connect", lambda: connect(1))
    engine.containers, engine.slow = {f"{1:064x}": owner()}, {"containers/json"}
    assert len(DockerRunner(Challenge()).client.api.containers()) == 1
