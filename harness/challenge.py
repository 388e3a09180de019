"""`challenge.yaml`: what the organiser declares: tracks, limits and images."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from evaluator.contract import Contract, Name, Title, read

Room = Literal["participant", "infer", "triton", "score"]
BASE_IMAGE = "python:3.11-slim-bookworm"


class Limits(Contract):
    """What one container may take; a stage that asks for more is stopped."""

    seconds: int = Field(default=1800, ge=1)
    memory_mb: int = Field(default=4096, ge=128)
    cpus: float = Field(default=2.0, gt=0)
    output_mb: int = Field(default=1024, ge=1)
    tmp_mb: int = Field(default=512, ge=1)
    pids: int = Field(default=256, ge=16)
    output_files: int = Field(default=10_000, ge=16)  # and folders


class StageLimits(Contract):
    """The limits of each kind of stage."""

    train: Limits = Limits(seconds=86400, memory_mb=8192)
    gate: Limits = Limits(seconds=120, memory_mb=2048, output_mb=16)
    infer: Limits = Limits()
    score: Limits = Limits(output_mb=256)


class Track(Contract):
    """One dataset with one frozen split and one way of scoring."""

    dataset: Name
    split_version: Name
    folds: int = Field(default=5, ge=2, le=20)
    metric_profile: Literal["native"] = "native"
    labels: Literal["public", "private"] = "public"


class Images(Contract):
    """How the containers' images are made."""

    base: str = BASE_IMAGE
    wheelhouse: Path | None = None  # a folder of wheels, for sites without a package index
    max_mb: int = Field(default=20_480, ge=1)  # of a participant's image


class Challenge(Contract):
    """A whole challenge."""

    schema_: Literal["busbench/challenge/v1"] = Field(
        default="busbench/challenge/v1", alias="schema"
    )
    title: Title = "BUSBench"
    tracks: dict[Name, Track] = Field(default_factory=dict)
    limits: StageLimits = StageLimits()
    images: Images = Images()


def load_challenge(path: Path | None) -> Challenge:
    """Read `path`; without one, `challenge.yaml` of the working folder, else the defaults.

    Raises:
        BusbenchError: `challenge-invalid`, naming the first field that is wrong.
    """
    if path is None:
        path = Path("challenge.yaml")
        if not path.exists():
            return Challenge()
    return read(
        Challenge, path, "challenge-invalid", "Compare it with challenge.yaml of the project."
    )
