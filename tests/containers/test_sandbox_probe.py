"""The sandbox holds from inside, and the probe that says so would find it if it did not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import docker
import pytest

from harness.challenge import Challenge
from harness.sandbox.images import ensure_base
from harness.sandbox.probe import INSIDE, LIMITS
from harness.sandbox.probe_inside import ATTEMPTS
from tests.support import ROOT

pytestmark = pytest.mark.docker
FROM_OUTSIDE = {"flood the log", "run for ever", "leave a link", "stay behind"}


@pytest.fixture(scope="module")
def tried(engine: docker.DockerClient) -> dict[str, Any]:
    """What `busbench doctor --sandbox --json` says here."""
    done = subprocess.run(
        [sys.executable, "-m", "harness", "doctor", "--sandbox", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    said = json.loads(done.stdout)
    assert done.returncode == said.get("status"), done.stderr
    return said


def test_nothing_that_was_tried_inside_the_sandbox_worked(tried: dict[str, Any]) -> None:
    assert [f for f in tried["findings"] if f["level"] != "ok"] == []
    assert tried["status"] == 0


def test_nothing_was_left_out(tried: dict[str, Any]) -> None:
    names = {attempt.__name__.replace("_", " ") for attempt in ATTEMPTS}
    assert {f["name"] for f in tried["findings"]} == names | FROM_OUTSIDE


def test_the_documented_table_leaves_nothing_out(tried: dict[str, Any]) -> None:
    page = (ROOT / "docs/sandbox.md").read_text()
    assert all(f"| {f['name']} |" in page for f in tried["findings"])


def test_the_limits_are_what_stopped_it(tried: dict[str, Any]) -> None:
    said = {f["name"]: f["says"] for f in tried["findings"]}
    assert "SIGKILL" in said["memory"]
    assert "Resource temporarily unavailable" in said["processes"]
    assert "Too many open files" in said["open files"]
    for name in ("fill output", "fill scratch", "many files"):
        assert "No space left on device" in said[name]
    for name in ("tcp", "udp", "metadata"):
        assert "unreachable" in said[name]


Tries = Callable[[str], dict[str, bool]]
# Containers that the probe must see through, and what more they are given.
LAX: dict[str, dict[str, Any]] = {
    "ordinary": {},
    "administrator": {"cap_add": ["SYS_ADMIN"], "security_opt": ["seccomp=unconfined"]},
}


@pytest.fixture(scope="module")
def without(engine: docker.DockerClient, tmp_path_factory: pytest.TempPathFactory) -> Tries:
    """The same attempts in a container as Docker makes it, with the engine's socket in it."""

    @cache
    def run(kind: str) -> dict[str, bool]:
        work = tmp_path_factory.mktemp("ordinary")
        program, canary = work / "probe.py", work / "canary-of-another-run"
        program.write_bytes(INSIDE.read_bytes())  # a copy, which the probe is going to delete
        canary.write_text("predictions")
        said = {**LIMITS.model_dump(), "canary": canary.name, "log_mb": 0}
        folders = {str(work): "/in", "/var/run/docker.sock": "/run/docker.sock"}
        container = engine.containers.run(
            ensure_base(engine, Challenge().images),
            ["sh", "-c", "cp /in/probe.py /probe.py && python /probe.py /out; cat /out/probe.json"],
            environment={"BUSBENCH_PROBE": json.dumps(said)},
            volumes={source: {"bind": place} for source, place in folders.items()},
            tmpfs={"/out": "exec", "/tmp": "exec"},
            detach=True,
            **LAX[kind],
        )
        try:
            container.wait(timeout=600)
            rows = json.loads(container.logs(stderr=False))
        finally:
            container.remove(force=True, v=True)
        return {row["name"]: row["achieved"] for row in rows}

    return run


OPEN = {
    "ordinary": (
        *("interfaces", "tcp", "udp", "dns", "read other runs", "write elsewhere"),
        *("change input", "run from scratch", "memory", "processes", "open files"),
        *("fill output", "many files", "fill scratch", "dump core", "engine socket"),
        *("become root", "run setuid program", "capabilities", "make device"),
        *("vsock", "io uring", "trace process", "run from memory", "see cgroup"),
    ),
    "administrator": (
        *("new namespace", "mount", "filter calls", "handle faults", "load program"),
        *("count events", "keyring"),
    ),
}


@pytest.mark.parametrize("kind, name", [(kind, name) for kind in OPEN for name in OPEN[kind]])
def test_the_probe_finds_what_a_lax_container_lets_through(
    without: Tries, kind: str, name: str
) -> None:
    assert without(kind)[name] is True
