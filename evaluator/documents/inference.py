"""Documents in which the gate and the infer stage describe a submission's models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from evaluator.documents.base import (
    MAX_CASES,
    MAX_FOLDS,
    Contract,
    Digest,
    FileName,
    Fold,
    Title,
)

BatchSize = int | Literal["auto"]
Backend = Literal["onnxruntime", "triton"]
Device = Literal["cpu", "cuda", "tensorrt"]  # tensorrt: a CUDA device through TensorRT's engine
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


class GateVerdict(Contract):
    """`gate.json`: every model passed; refusals are errors and leave no verdict."""

    schema_: Literal["busbench/gate/v1"] = Field(default="busbench/gate/v1", alias="schema")
    submission_sha256: Digest
    models: tuple[CountedModel, ...] = Field(max_length=MAX_FOLDS)


class Measured(Contract):
    """What differs between two runs of one submission: times, the machine, and what follows."""

    device_name: Title  # of the processor or the GPU; `unknown` where it has no name
    latency_ms: Amount
    # ^ of one test image alone, the network without the rest: the slowest model's mean over the
    # repeated cases
    batch_sizes: tuple[Small, ...] = Field(max_length=MAX_FOLDS)  # images a run, model by model
    batch_dependent: tuple[FileName, ...] = Field(max_length=MAX_FOLDS)
    # ^ models run at batch 1 because a larger batch may change their maps
    repeated_cases: int = Field(ge=0, le=MAX_CASES)
    # ^ of each model, run again: every mask came out the same
    peak_memory_mb: Large  # of the process that ran the models


class Runtime(Contract):
    """`runtime.json`: what inference ran on. It lies beside the predictions.

    What a digest names must be the same when the same thing is run twice, so every digest leaves
    `measured` out.
    """

    schema_: Literal["busbench/runtime/v2"] = Field(default="busbench/runtime/v2", alias="schema")
    backend: Backend
    backend_version: Title
    provider: Title
    device: Device
    threads: Small
    measured: Measured
