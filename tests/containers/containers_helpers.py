"""Reading a run's files without the project's own code, as an oracle should."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np


def read_payload(path: Path) -> dict:
    """The report inside a DSSE envelope; the signature is not looked at."""
    return json.loads(base64.b64decode(json.loads(path.read_text())["payload"]))["predicate"]


def predicted_masks(folder: Path) -> dict[int, dict[str, np.ndarray]]:
    """fold -> case id -> mask."""
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
