"""`challenge.yaml`: what the organiser declares: tracks, limits, images and phases."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from evaluator.documents.base import Contract, Name, Title, read
from evaluator.documents.scores import Ranked
from evaluator.errors import Code

Component = Literal["participant", "infer", "infer-gpu", "triton", "score"]
Step = Annotated[float, Field(gt=0)]
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

    train: Limits = Limits(seconds=86400, memory_mb=8192, output_mb=4096)
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


class Phase(Contract):
    """A time in which teams hand in, and what they learn meanwhile. Days are UTC, both inclusive.

    Every number that is shown is rounded to its metric's step. On the ladder, it is shown only when
    it beats the team's best by the step (Blum & Hardt, The Ladder, ICML 2015); else the best is
    shown again.
    """

    name: Name
    opens: date | None = None  # null: as ever
    closes: date | None = None  # null: for ever
    quota_per_day: int | None = Field(default=None, ge=1)  # of a team on a track; null: no quota
    quota: int | None = Field(default=None, ge=1)  # of a team on a track in the whole phase
    steps: dict[Ranked, Step] | None = None  # metric -> step; null: everything is shown, exactly
    groups: tuple[str, ...] = ("all",)  # the groups of cases whose numbers are shown
    ladder: bool = True
    results_open: date | None = None  # from when exact and per-case results may be read; null:
    # at once where nothing is rounded, else never

    def is_open(self, day: date) -> bool:
        """Whether submissions are taken on that day."""
        return (self.opens or day) <= day <= (self.closes or day)

    def shows_all(self, day: date) -> bool:
        """Whether exact and per-case results may be read on that day."""
        return self.steps is None if self.results_open is None else self.results_open <= day

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.opens and self.closes and self.closes < self.opens:
            raise ValueError("closes: a phase closes after it opens")
        return self


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
    phases: tuple[Phase, ...] = ()  # none: always open, nothing hidden

    @model_validator(mode="after")
    def _phases_apart(self) -> Self:
        if len({phase.name for phase in self.phases}) != len(self.phases):
            raise ValueError("phases: each name may be used once")
        for before, after in pairwise(self.phases):
            if before.closes is None or after.opens is None or after.opens <= before.closes:
                raise ValueError(f"phases: {after.name} must open after {before.name} closes")
        return self


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
        Challenge, path, Code.CHALLENGE_INVALID, "Compare it with challenge.yaml of the project."
    )
