"""Options that several verbs share, and the runner they choose.

A path that is read is declared with `exists=True`: one that is not there is a misused command line,
status 2, before anything is imported or begun.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evaluator.documents.inference import BatchSize
from evaluator.errors import BusbenchError, Code
from evaluator.harmless import harmless
from harness.cli.app import err

if TYPE_CHECKING:
    from evaluator.progress import Progress
    from harness.challenge import Challenge
    from harness.sandbox import Runner


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


class Precision(StrEnum):
    """How a device computes; see docs/inference.md."""

    FP32 = "fp32"
    TF32 = "tf32"
    FP16 = "fp16"


class Part(StrEnum):
    """Which cases a submission is evaluated on."""

    TEST = "test"
    VAL = "val"
    FINAL = "final"


class Backend(StrEnum):
    """Which server or library runs the network."""

    ONNXRUNTIME = "onnxruntime"
    TRITON = "triton"


RunnerOption = Annotated[
    RunnerName,
    typer.Option(help="docker isolates; process is for development, and the report says so."),
]
DeviceOption = Annotated[
    InferDevice,
    typer.Option(
        help="What models run on; tensorrt is a CUDA device through TensorRT. A device that does "
        "not work ends the verb: another is never taken instead."
    ),
]
BackendOption = Annotated[
    Backend, typer.Option(help="What runs the ONNX files: the library, or a Triton server.")
]
PrecisionOption = Annotated[
    Precision | None,
    typer.Option(
        help="Of a GPU's arithmetic: the track's; `evaluate --part val` compares another.",
        show_default="the track's, or fp32",
    ),
]
BatchSizeOption = Annotated[str, typer.Option(help="Images a run; auto measures.")]
ChallengeOption = Annotated[
    Path | None,
    typer.Option(
        help="The organiser's declaration; default: ./challenge.yaml.", exists=True, dir_okay=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
OptionalKeys = Annotated[
    Path | None,
    typer.Option(
        "--keys",
        help="The organiser's folder that `busbench keys new` made.",
        exists=True,
        file_okay=False,
    ),
]
FinalKeysOption = Annotated[
    Path | None,
    typer.Option(
        help="The keys of the final part, which `busbench keys final` made.",
        exists=True,
        file_okay=False,
    ),
]
PublicKeyOption = Annotated[
    Path | None,
    typer.Option(
        help="A public key that must have signed it, report.pub.", exists=True, dir_okay=False
    ),
]
KeysOption = Annotated[
    Path,
    typer.Option(help="The folder that `busbench keys new` made.", exists=True, file_okay=False),
]
LedgerArgument = Annotated[
    Path,
    typer.Argument(metavar="LEDGER", help="A ledger, ledger.jsonl.", exists=True, dir_okay=False),
]
LedgerOption = Annotated[
    Path | None, typer.Option(help="Append each result to this ledger, once.", dir_okay=False)
]
SubmissionArgument = Annotated[
    Path, typer.Argument(help="The submission folder.", exists=True, file_okay=False)
]
StoreArgument = Annotated[
    Path, typer.Argument(help="A case store that prepare wrote.", exists=True, file_okay=False)
]
PairsOption = Annotated[
    Path | None,
    typer.Option(
        help="A table of known pairs: first, second, and kind if not same-patient.",
        exists=True,
        dir_okay=False,
    ),
]
ExcludeOption = Annotated[
    Path | None,
    typer.Option(help="A table of cases to leave out: case, reason.", exists=True, dir_okay=False),
]
SplitOption = Annotated[
    Path, typer.Option(help="The folder of the frozen split.", exists=True, file_okay=False)
]
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


def read_challenge(path: Path | None) -> Challenge:
    """The challenge in force. Standard error says which file declares it: a phase may hang on it.

    Raises:
        BusbenchError: `challenge-invalid`.
    """
    from harness.challenge import load_challenge  # noqa: PLC0415  as below

    say_challenge(path)
    return load_challenge(path)


def say_challenge(path: Path | None) -> None:
    """Print where the challenge in force is declared."""
    from harness.challenge import CHALLENGE  # noqa: PLC0415  as below

    place = path or CHALLENGE
    none = f"the defaults, since {Path.cwd()} contains no {CHALLENGE}"
    err.print(harmless(f"challenge        {place.resolve() if place.exists() else none}"))


def read_batch_size(text: str) -> BatchSize:
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
    from harness.sandbox import open_runner  # noqa: PLC0415  the engine's client takes its time

    return open_runner(name.value, challenge, progress)
