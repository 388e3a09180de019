"""The plan of the example board: its tracks, and the methods on each."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, model_validator

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
PLAN = HERE / "plan.yaml"
TEAM = "BUSBench reference"
LEAK = "leak"  # beside the tracks, the folder of what is trained on the split by image
SINGLE = "single"  # and that of submissions of one model
Averaged = Literal["mirrored", "ensemble", "mirrored-ensemble"]


class Part(BaseModel):
    """Some of the plan."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Leak(Part):
    """Which networks are trained on a split by image as well."""

    track: str
    networks: tuple[str, ...]


class Network(Part):
    """Where a network is trained, and what is averaged of it."""

    tracks: tuple[str, ...]
    averaged: tuple[Averaged, ...] = ()


class Template(Part):
    """Where a template is trained, and with which options of its `train.py`."""

    tracks: tuple[str, ...]
    options: str = ""


class Plan(Part):
    """The tracks, and what is handed in on each."""

    tracks: dict[str, str]  # and the folder of the release
    networks: dict[str, Network]
    single: dict[str, str] = {}  # network -> track: one model, that `--trained` alone has
    templates: dict[str, Template] = {}
    baselines: tuple[str, ...] = ()
    memoriser: bool = False
    leak: Leak | None = None
    published: dict[str, tuple[str, ...]] = {}  # track -> files of its release

    @model_validator(mode="after")
    def _only_what_is_there(self) -> Self:
        stated = {f"networks: {name}": one.tracks for name, one in self.networks.items()}
        stated |= {f"templates: {name}": one.tracks for name, one in self.templates.items()}
        stated |= {"published": tuple(self.published), "single": tuple(self.single.values())}
        for name, tracks in stated.items():
            if unknown := {*tracks} - {*self.tracks}:
                raise ValueError(f"{name}: {min(unknown)} is no track")
        leak = self.leak
        if leak and not all(leak.track in self._tracks_of(name) for name in leak.networks):
            raise ValueError("leak: its networks must be trained on its track in the plan, too")
        return self

    def _tracks_of(self, network: str) -> tuple[str, ...]:
        known = self.networks.get(network)
        return () if known is None else known.tracks

    @property
    def trained(self) -> tuple[tuple[str, str], ...]:
        """The networks that are trained, each after its track or `LEAK`."""
        usual = [(track, name) for name, one in self.networks.items() for track in one.tracks]
        return (*usual, *((LEAK, name) for name in (self.leak.networks if self.leak else ())))


def read_plan(path: Path = PLAN) -> Plan:
    """The plan in a file."""
    return Plan.model_validate(yaml.safe_load(path.read_text("utf-8")))
