"""The engine's events, compose, and another reader of a run's files."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import numpy as np
import requests
from docker.errors import NotFound

from harness.sandbox.profile import LABEL, OWNER_LABEL, SYSTEM_CALLS
from tests.support import ROOT


@dataclass(frozen=True)
class Journey:
    """A finished `busbench demo --runner docker` and what the engine said of its containers."""

    out: Path
    printed: str  # its steps, then its board
    containers: dict[str, list[dict[str, Any]]]  # stage -> `docker inspect` of each, as it ran

    @property
    def submission(self) -> Path:
        """The trained network's."""
        return self.out / "submissions" / "unext"

    @property
    def run(self) -> Path:
        """What the trained network's evaluation left."""
        return self.run_of("unext")

    def run_of(self, method: str) -> Path:
        """What a method's evaluation left."""
        (found,) = (
            path.parent
            for path in (self.out / "runs").glob("*/report.dsse.json")
            if read_payload(path)["method"] == method
        )
        return found


def read_payload(path: Path) -> dict[str, Any]:
    """The report inside a DSSE envelope; the signature is not looked at."""
    payload: dict[str, Any] = json.loads(base64.b64decode(json.loads(path.read_text())["payload"]))[
        "predicate"
    ]
    return payload


def predicted_masks(folder: Path) -> dict[int, dict[str, np.ndarray]]:
    """Masks by fold and case id."""
    document = json.loads((folder / "predictions.json").read_text())
    found: dict[int, dict[str, np.ndarray]] = {}
    for fold in document["folds"]:
        data = np.fromfile(folder / f"fold-{fold}.bits", np.uint8)
        found[fold], place = {}, 0
        for case in document["cases"]:
            pixels = case["height"] * case["width"]
            size = -(-pixels // 8)
            bits = np.unpackbits(data[place : place + size])[:pixels]
            found[fold][case["case_id"]] = bits.reshape(case["height"], case["width"]) > 0
            place += size
    return found


def compose_commands() -> list[list[str]]:
    """Every compose that is installed: v2 (`docker compose`) and v1 (`docker-compose`)."""
    found = []
    if shutil.which("docker"):
        plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        if plugin.returncode == 0:
            found.append(["docker", "compose"])
    if shutil.which("docker-compose"):
        found.append(["docker-compose"])
    return found


def compose_environment(
    journey: Path, results: Path, submission: Path | None = None
) -> dict[str, str]:
    """What `compose.yaml` asks for: a submission, a journey's bundles and keys, result folders.

    Containers run as nobody, who must be able to read the keys and write the results.
    """
    head = (ROOT / "containers/compose.yaml").read_text("utf-8").split("\n\n")[0]
    folders = [line[4:] for line in head.splitlines() if re.match("#   (mkdir -p|chmod) ", line)]
    shell = ["sh", "-euc", "\n".join(folders)]  # as its first lines say
    subprocess.run(shell, env=os.environ | {"RESULTS": str(results)}, check=True)
    keys = results / "keys"
    keys.mkdir(mode=0o700)
    for name in ("images.key", "labels.key"):
        (keys / name).write_bytes((journey / "keys" / name).read_bytes())
        (keys / name).chmod(0o444)
    places = {
        "SUBMISSION": submission or journey / "submission",
        "BUNDLES": journey / "bundles",
        "KEYS": keys,
        "RESULTS": results,
        "SECCOMP": SYSTEM_CALLS,
    }
    return os.environ | {name: str(path) for name, path in places.items()}


@contextmanager
def composed(
    compose: Sequence[str], project: str, environment: dict[str, str], *options: str
) -> Iterator[Callable[..., str]]:
    """Run commands of compose on `compose.yaml`; at the end all that they made is removed."""

    def run(*words: str) -> str:
        file = f"--file={ROOT}/containers/compose.yaml"
        done = subprocess.run(
            [*compose, "-p", f"busbench-{project}", file, *options, *words],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        yield run
    finally:
        run("down", "-v")


class Watcher:
    """Inspects every container of ours as it starts, through the engine's own events."""

    def __init__(self, client: docker.DockerClient) -> None:
        self._seen: list[dict[str, Any]] = []
        self._client = client
        self._events = client.events(decode=True, filters={"event": "start", "label": LABEL})
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        try:
            for event in self._events:
                try:
                    self._seen.append(self._client.api.inspect_container(event["id"]))
                except NotFound:
                    continue  # so short that it is gone; the tests name the stages they need
        except requests.RequestException:
            return

    def seen(self, pid: int) -> dict[str, list[dict[str, Any]]]:
        """By stage, those of one harness process: others may use the engine at the same time."""
        stages: dict[str, list[dict[str, Any]]] = {}
        for found in self._seen:
            labels = found["Config"]["Labels"]
            if labels[OWNER_LABEL].split("/")[3] == str(pid):
                stages.setdefault(labels[LABEL], []).append(found)
        return stages

    def stop(self) -> None:
        self._events.close()
