"""Options that several verbs share, and the runner they choose."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from evaluator.progress import Progress
from harness.challenge import Challenge
from harness.sandbox import DockerRunner, ProcessRunner, Runner


class RunnerName(StrEnum):
    """Where stages run."""

    DOCKER = "docker"
    PROCESS = "process"


class Device(StrEnum):
    """What inference runs on."""

    CPU = "cpu"
    CUDA = "cuda"


RunnerOption = Annotated[
    RunnerName,
    typer.Option(help="docker isolates; process is for development and stands on the report."),
]
ChallengeOption = Annotated[
    Path | None, typer.Option(help="The organiser's declaration; default: ./challenge.yaml.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
KeysOption = Annotated[Path, typer.Option(help="The folder that `busbench keys new` made.")]


def make_runner(name: RunnerName, challenge: Challenge, progress: Progress) -> Runner:
    """The runner of that name; raises `engine-unavailable` where Docker is asked for and absent."""
    return ProcessRunner() if name is RunnerName.PROCESS else DockerRunner(challenge, progress)
