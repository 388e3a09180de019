"""The engine's events, compose, and another reader of a run's files."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import threading
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
    printed: str
    containers: dict[str, dict[str, Any]]  # stage -> `docker inspect` while it ran


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


def compose_environment(journey: Path, results: Path) -> dict[str, str]:
    """What `compose.yaml` asks for: a journey's submission, bundles and keys, folders for results.

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
        "SUBMISSION": journey / "submission",
        "BUNDLES": journey / "bundles",
        "KEYS": keys,
        "RESULTS": results,
        "SECCOMP": SYSTEM_CALLS,
    }
    return os.environ | {name: str(path) for name, path in places.items()}


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

    def seen(self, pid: int) -> dict[str, dict[str, Any]]:
        """By stage, those of one harness process: others may use the engine at the same time."""
        labelled = ((found["Config"]["Labels"], found) for found in self._seen)
        return {
            labels[LABEL]: found
            for labels, found in labelled
            if labels[OWNER_LABEL].split("/")[3] == str(pid)
        }

    def stop(self) -> None:
        self._events.close()
