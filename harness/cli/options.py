"""Options that several verbs share, and the runner they choose."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import typer

from evaluator.errors import BusbenchError, Code
from evaluator.progress import Progress
from harness.challenge import Challenge
from harness.sandbox import Runner, open_runner


class RunnerName(StrEnum):
    """Where stages run."""

    DOCKER = "docker"
    PROCESS = "process"


class Device(StrEnum):
    """What training runs on."""

    CPU = "cpu"
    CUDA = "cuda"


class InferDevice(StrEnum):
    """What inference runs on; the last is a CUDA device, through TensorRT."""

    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"


class Part(StrEnum):
    """Which cases a submission is evaluated on."""

    TEST = "test"
    VAL = "val"


class Backend(StrEnum):
    """Which server or library runs the network."""

    ONNXRUNTIME = "onnxruntime"
    TRITON = "triton"


RunnerOption = Annotated[
    RunnerName,
    typer.Option(help="docker isolates; process is for development, and the report says so."),
]
ChallengeOption = Annotated[
    Path | None, typer.Option(help="The organiser's declaration; default: ./challenge.yaml.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
OptionalKeys = Annotated[
    Path | None,
    typer.Option("--keys", help="The organiser's folder that `busbench keys new` made."),
]
KeysOption = Annotated[Path, typer.Option(help="The folder that `busbench keys new` made.")]

ClusterOption = Annotated[
    str | None,
    typer.Option(
        help="Where jobs run: local:4 (processes), slurm:4, or a Dask scheduler, tcp://host:8786. "
        "Default: here, one after the other."
    ),
]

InputsOption = Annotated[
    str | None,
    typer.Option(
        help="Put what jobs read at this fsspec address, such as s3://bucket/inputs; each machine "
        "fetches it from there by digest, once. Default: all machines see the same folders."
    ),
]


def read_batch_size(text: str) -> int | Literal["auto"]:
    """`auto`, or a number from 1 to 512; anything else is a usage error."""
    if text == "auto":
        return "auto"
    if not text.isdecimal() or not 1 <= int(text) <= 512:
        raise BusbenchError(
            Code.USAGE,
            f"--batch-size {text} is no batch size.",
            "Give auto, or a number up to 512.",
        )
    return int(text)


def make_runner(name: RunnerName, challenge: Challenge, progress: Progress) -> Runner:
    """The runner of that name; raises `engine-unavailable` where Docker is asked for and absent."""
    return open_runner(name.value, challenge, progress)
