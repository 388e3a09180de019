"""Context of the checks: the challenge, the engine and what they say, each asked once."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import docker

from evaluator.errors import BusbenchError
from harness.challenge import Challenge, load_challenge
from harness.sandbox.docker_runner import connect

_SECONDS = 20  # for a program that prints its version


@dataclass(frozen=True)
class Context:
    """What is examined."""

    challenge_file: Path | None = None
    keys: Path | None = None  # null: `keys` of the working folder, where there is one
    place: Path = field(default_factory=Path)  # where runs are kept

    @cached_property
    def challenge(self) -> Challenge:
        """The challenge; raises `challenge-invalid`."""
        return load_challenge(self.challenge_file)

    @cached_property
    def engine(self) -> docker.DockerClient:
        """The engine; raises `engine-unavailable`."""
        return connect()

    @property
    def has_engine(self) -> bool:
        """Whether an engine answers."""
        try:
            return bool(self.engine)
        except BusbenchError:
            return False

    @cached_property
    def engine_info(self) -> dict[str, Any]:
        """What the engine reports of itself."""
        return dict(self.engine.info())

    @cached_property
    def components(self) -> dict[str, str]:
        """The engine's parts and their versions, with a distribution's own marks."""
        parts = self.engine.version().get("Components") or ()
        return {str(p["Name"]): _longest(p) for p in parts}


def _longest(part: dict[str, Any]) -> str:
    """A version as fully as it is known: Debian's whole number is where a commit would be."""
    version, commit = str(part["Version"]), str((part.get("Details") or {}).get("GitCommit", ""))
    return commit if commit.startswith(version) else version


def output_of(*command: str) -> str | None:
    """What a program prints; None where it is not there, or fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 and done.stdout.strip() else None
