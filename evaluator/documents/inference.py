"""Documents in which the gate and the infer stage describe a submission's models."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from evaluator.documents.base import (
    MAX_CASES,
    MAX_FOLDS,
    Contract,
    Digest,
    FileName,
    Fold,
    Title,
)
from evaluator.errors import BusbenchError, Code

BatchSize = int | Literal["auto"]
Backend = Literal["onnxruntime", "triton"]
Device = Literal["cpu", "cuda", "tensorrt"]  # tensorrt: a CUDA device through TensorRT's engine
# Of convolutions and matrix products: tf32 rounds their factors to 10 bits of mantissa, fp16 keeps
# weights and maps in float16, too.
Precision = Literal["fp32", "tf32", "fp16"]


def require_precision(device: Device, precision: Precision) -> None:
    """Raise `usage` for a precision that would not take effect on `device`."""
    if device == "cpu" and precision != "fp32":
        raise BusbenchError(
            Code.USAGE,
            f"--precision {precision} has no effect on a CPU, which computes in fp32.",
            "Use --device cuda or --device tensorrt, or --precision fp32.",
        )


# What the organiser's statistics and pages compute with is bounded: it comes from processes that a
# hostile model may have taken over. No honest value comes near a bound.
Small = Annotated[int, Field(ge=1, le=65_536)]
Large = Annotated[int, Field(ge=0, le=10**12)]
Amount = Annotated[float, Field(ge=0, le=1e9)]


REPEATED, REPEATED_SHARE = 16, 20  # cases of a sweep that are run again: so many, or one in so many


def repeated_cases(cases: int) -> int:
    """How many of a sweep's cases are run again: `REPEATED`, or 1 / `REPEATED_SHARE` if more."""
    return min(cases, max(REPEATED, cases // REPEATED_SHARE))


class CountedModel(Contract):
    """What the gate read off one ONNX graph."""

    fold: Fold | None
    sha256: Digest
    opset: Small
    nodes: Large
    parameters: Large
    gmacs: Amount | None  # conv and matmul at batch 1; null where shapes cannot be inferred
    # ^ of one image; of tiles the gate counts one, the report all of a mean test image; of native
    # images, the one whose area is nearest to the mean


class GateVerdict(Contract):
    """`gate.json`: every model passed; refusals are errors and leave no verdict."""

    schema_: Literal["busbench/gate/v1"] = Field(default="busbench/gate/v1", alias="schema")
    submission_sha256: Digest
    models: tuple[CountedModel, ...] = Field(max_length=MAX_FOLDS)


class Measured(Contract):
    """What differs between two runs of one submission: times, the machine, and what follows."""

    device_name: Title  # of the processor or the GPU; `unknown` where it has no name
    latency_ms: Amount | None
    # ^ of one test image alone, the network without the rest: the slowest model's mean over the
    # repeated cases; null of a container image
    batch_sizes: tuple[Small, ...] = Field(max_length=MAX_FOLDS)  # images a run, model by model
    batch_dependent: tuple[FileName, ...] = Field(max_length=MAX_FOLDS)
    # ^ models run at batch 1 because a larger batch may change their maps
    repeated_cases: int = Field(ge=0, le=MAX_CASES)
    # ^ of each model, run again: every mask came out the same
    seconds: Amount
    # ^ wall clock of all passes of all models over all cases: reading, decrypting, decoding, the
    # network and masks; without start-up, the choice of a batch size and the repeated cases. Of a
    # container image, of the one container that saw all images, from its start to its end
    # What is not reported is null, and no zero. Memory is in units of 2**20 bytes.
    host_memory_mb: Large | None
    # ^ at its peak, of the process that ran the models, or of the container; no server's
    gpu_memory_mb: Large | None  # at its peak
    gpu_memory_of: Literal["process", "device"] | None
    # ^ `device`: all that was taken there since the start, where the process is not listed
    energy_j: Amount | None  # of the whole GPU in `seconds`


LIMITED = ("latency_ms", "seconds", "host_memory_mb", "gpu_memory_mb", "energy_j")
Limit = Annotated[float, Field(gt=0, le=1e9)]


class EfficiencyLimits(Contract):
    """The most that a model may take, as `Measured` has it, on one kind of device."""

    device_name: Title = Field(
        description="The processor or GPU, as reports call it; on another one nothing is accepted."
    )
    latency_ms: Limit | None = Field(
        default=None, description="Milliseconds of the network for one image alone."
    )
    seconds: Limit | None = Field(
        default=None, description="Seconds for all models on all images, as reports have them."
    )
    host_memory_mb: Limit | None = Field(
        default=None, description="Memory at its peak, in 2²⁰ bytes."
    )
    gpu_memory_mb: Limit | None = Field(
        default=None, description="The GPU's memory at its peak, in 2²⁰ bytes."
    )
    energy_j: Limit | None = Field(default=None, description="Joules of the GPU in `seconds`.")

    @property
    def stated(self) -> dict[str, float]:
        """The limits that there are, by name."""
        values = {name: getattr(self, name) for name in LIMITED}
        return {name: value for name, value in values.items() if value is not None}

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if not self.stated:
            raise ValueError(f"state at least one of {', '.join(LIMITED)}")
        return self

    def check_device(self, device_name: str, measured: Collection[str]) -> str | None:
        """Why these limits cannot be checked there, in half a sentence; None where they can.

        Args:
            device_name: of the device that measures.
            measured: names of the values that it reports.
        """
        if device_name != self.device_name:
            return f"limits are for {self.device_name}, and this is {device_name}"
        lacking = [name for name in self.stated if name not in measured]
        return f"{device_name} does not report {', '.join(lacking)}" if lacking else None

    def check(self, measured: Measured) -> str | None:
        """Which limit is exceeded or was not measured, in half a sentence; None where none is."""
        values = {name: getattr(measured, name) for name in LIMITED}
        known = [name for name, value in values.items() if value is not None]
        if (problem := self.check_device(measured.device_name, known)) is not None:
            return problem
        over = [
            f"{name} is {values[name]:g}, over the limit of {limit:g}"
            for name, limit in self.stated.items()
            if values[name] > limit
        ]
        return "; ".join(over) or None


class Runtime(Contract):
    """`runtime.json`: what inference ran on. It lies beside the predictions.

    What a digest names must be the same when the same thing is run twice, so every digest leaves
    `measured` out.
    """

    schema_: Literal["busbench/runtime/v3"] = Field(default="busbench/runtime/v3", alias="schema")
    backend: Backend | Literal["image"]
    backend_version: Title  # of a container image, its id
    provider: Title
    device: Device
    precision: Precision | None  # null of a container image, which may compute in any
    fixed_batches: tuple[Small, ...] = Field(max_length=MAX_FOLDS)
    # ^ images of every run, model by model, on a device, whose bits depend on it; empty on a CPU
    repeatable: bool
    # ^ whether each run gives the same masks: TensorRT chooses its kernels by measured time
    threads: Small
    measured: Measured

    @property
    def computed_on(self) -> str:
        """The device, with its precision where that is not fp32."""
        plain = self.precision in (None, "fp32")
        return self.device if plain else f"{self.device} {self.precision}"
