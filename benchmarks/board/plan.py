"""The example board as a list of commands: a pure function of the plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Self

import yaml
from pydantic import BaseModel, ConfigDict, model_validator

HERE = Path(__file__).parent
TEAM = "BUSBench reference"


class Leak(BaseModel):
    """Which network is trained on a split by image as well."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    track: str
    network: str


class Plan(BaseModel):
    """The tracks, and what is handed in on each."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tracks: dict[str, str]  # and the folder of the release
    networks: tuple[str, ...]
    templates: tuple[str, ...] = ()
    baselines: tuple[str, ...] = ()
    memoriser: bool = False
    leak: Leak | None = None

    @model_validator(mode="after")
    def _leak_has_its_like(self) -> Self:
        leak = self.leak
        if leak and not (leak.track in self.tracks and leak.network in self.networks):
            raise ValueError("leak: its track and network must be among those of the plan")
        return self


@dataclass(frozen=True)
class Step:
    """One command, run in the board's folder."""

    command: tuple[str, ...]
    made: str | None = None  # what it leaves last; where that is there, it isn't run again


@dataclass(frozen=True)
class Places:
    """Where things are. All but `data` and `splits` is in the board's folder."""

    data: Path
    splits: Path
    recipes: Path = HERE / "recipes"

    def split(self, track: str) -> str:
        """The frozen split of a track."""
        return str(self.splits / track / "subset-v1")


def read_plan(path: Path = HERE / "plan.yaml") -> Plan:
    """The plan in a file."""
    return Plan.model_validate(yaml.safe_load(path.read_text("utf-8")))


def steps(plan: Plan, places: Places) -> Iterator[Step]:
    """Every command of the board, in order. All verbs go on where they were interrupted."""
    yield from _data(plan, places)
    yield from _networks(plan, places)
    for template in plan.templates:
        yield from _image(template)
    for track in plan.tracks:
        for template in plan.templates:
            yield from _trained(f"made/{track}/{template}", track, _tag(template))
        for kind in plan.baselines:
            command = f"baseline --kind {kind} --bundle {{bundle}} --out {{out}}"
            yield from _trained(f"made/{track}/{kind}", track, "reference", "--command", command)
        if plan.memoriser:
            yield from _memoriser(track)
    for first, other in permutations(plan.tracks, 2):
        for network in plan.networks:
            yield _evaluated(
                f"bench/{first}/{network}/submission", other,
                "--on", other, "--splits", str(places.splits),
            )  # fmt: skip
    if plan.leak is not None:
        yield from _by_image(plan.leak, places)
    yield from _board(plan, places)


def _busbench(*words: str, made: str | None = None) -> Step:
    return Step(("busbench", *words), made)


def _data(plan: Plan, places: Places) -> Iterator[Step]:
    yield Step(("cp", str(HERE / "challenge.yaml"), "challenge.yaml"))
    stores = {track: f"stores/{track}" for track in plan.tracks}
    for track, folder in plan.tracks.items():
        yield _busbench(
            "prepare", track, "--raw", str(places.data / folder), "--out", stores[track]
        )
    yield _busbench("audit", *stores.values(), "--out", "audits", made="audits/cross-audit.json")
    yield _busbench("keys", "new", "keys", made="keys")
    for track, store in stores.items():
        split, out = places.split(track), f"bundles/{track}"
        yield _busbench("seal", store, "--split", split, "--keys", "keys", "--out", out)


def _networks(plan: Plan, places: Places) -> Iterator[Step]:
    bundles = {track: f"bundles/{track}" for track in plan.tracks}
    recorded = ("--out", "bench", "--ledger", "ledger.jsonl")
    yield _benchmark(plan.networks, bundles, places.recipes, *recorded)


def _benchmark(
    networks: Sequence[str], bundles: Mapping[str, str], folder: Path, *options: str
) -> Step:
    tracks = ",".join(f"{track}={place}" for track, place in bundles.items())
    recipes = (f"--recipe={name}={folder / name}.yaml" for name in networks)
    return _busbench(
        "benchmark", "--networks", ",".join(networks), "--tracks", tracks, *recipes,
        "--keys", "keys", "--cluster", "local:2", *options,
    )  # fmt: skip


def _tag(template: str) -> str:
    return f"busbench-board-{template}"


def _image(template: str) -> Iterator[Step]:
    folder = f"templates/{template}"
    yield _busbench("new-submission", folder, "--like", template, "--team", TEAM, made=folder)
    yield Step(("docker", "build", "--quiet", "--tag", _tag(template), folder))


def _trained(out: str, track: str, image: str, *options: str) -> Iterator[Step]:
    yield _busbench(
        "train", image, "--bundle", f"bundles/{track}/training", "--out", out,
        "--keys", "keys", *options,
    )  # fmt: skip
    yield _evaluated(out, track)


def _memoriser(track: str) -> Iterator[Step]:
    out = f"made/{track}/memoriser"
    words = ("-m", "reference_models", "baseline", "--kind", "memoriser", "--team", "Example")
    sources = ("--bundle", f"bundles/{track}/training", "--published", f"stores/{track}")
    yield Step(("python", *words, *sources, "--out", out), made=f"{out}/submission.yaml")
    yield _evaluated(out, track)


def _evaluated(submission: str, track: str, *options: str) -> Step:
    return _busbench(
        "evaluate", submission, "--bundle", f"bundles/{track}", "--keys", "keys",
        "--out", "bench/runs", "--ledger", "ledger.jsonl", *options,
    )  # fmt: skip


def _by_image(leak: Leak, places: Places) -> Iterator[Step]:
    """The same on a split by image, outside the challenge: nothing of it is recorded."""
    store, split = f"stores/{leak.track}", "leak/split"
    yield _busbench("freeze", store, "--policy", "image", "--out", split)
    away = ("--challenge", str(HERE / "leak.yaml"))
    sealed = ("--split", split, "--keys", "keys", "--out", "leak/bundles")
    yield _busbench("seal", store, *sealed, *away)
    bundles = {leak.track: "leak/bundles"}
    yield _benchmark((leak.network,), bundles, places.recipes, "--out", "leak/bench", *away)
    which = ("--method", leak.network, "--track", leak.track)
    yield Step(("python", "-m", "benchmarks.board.leak", "bench/runs", "leak/bench/runs", *which))


def _board(plan: Plan, places: Places) -> Iterator[Step]:
    yield _busbench("rank", "ledger.jsonl", "--cases", "bench/runs", "--keys", "keys")
    stores = (word for track in plan.tracks for word in ("--store", f"stores/{track}"))
    shown = ("--splits", str(places.splits), *stores, "--cases", "bench/runs", "--trained", "bench")
    yield _busbench("publish", "ledger.jsonl", "--out", "site", *shown)
    bundles = (word for track in plan.tracks for word in ("--bundle", f"bundles/{track}"))
    yield _busbench(
        "verify", "ledger.jsonl", "--key", "keys/report.pub", "--rescore", "bench/runs",
        *bundles, "--keys", "keys",
    )  # fmt: skip
