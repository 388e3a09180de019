"""`busbench limits`: what a submission may take in the challenge in force."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evaluator.harmless import harmless
from harness.cli.app import app, out
from harness.cli.options import ChallengeOption, JsonOption, read_challenge
from harness.cli.screen import Grid, print_json

if TYPE_CHECKING:
    from harness.challenge import Challenge, Track

CONTAINERS = ("gate", "infer", "train")  # those that run what a participant wrote
PHASE = {  # head -> field
    "scores": "part",
    "opens": "opens",
    "closes": "closes",
    "a day": "quota_per_day",
    "in all": "quota",
}
NONE = "–"


@app.command()
def limits(challenge: ChallengeOption = None, as_json: JsonOption = False) -> None:
    """Show what a submission may take: size, time, memory, quotas.

    docs/limits.md says how each is refused, and what to do then.

    Example: busbench limits --challenge challenge.yaml
    """
    declared = read_challenge(challenge)
    if as_json:
        fields = {"limits", "tracks", "phases"}
        return print_json(declared.model_dump(mode="json", by_alias=True, include=fields))
    for grid in (_model(declared), _containers(declared), _tracks(declared), _phases(declared)):
        if grid is not None:
            out.draw(grid)
    return None


def _grid(title: str, *heads: str) -> Grid:
    grid = Grid(harmless(title))
    grid.column(harmless(heads[0]))
    for head in heads[1:]:
        grid.column(harmless(head), right=True)
    return grid


def _number(value: object) -> str:
    return NONE if value is None else f"{value:,}" if isinstance(value, int | float) else str(value)


def _model(challenge: Challenge) -> Grid:
    grid = _grid("Of an ONNX file", "limit", "at most")
    for name, value in challenge.limits.model.model_dump().items():
        grid.row(harmless(name), harmless(_number(value)))
    return grid


def _containers(challenge: Challenge) -> Grid:
    grid = _grid("Of a container", "limit", *CONTAINERS)
    stages = [getattr(challenge.limits, stage).model_dump() for stage in CONTAINERS]
    for name in stages[0]:
        grid.row(harmless(name), *(harmless(_number(stage[name])) for stage in stages))
    return grid


def _tracks(challenge: Challenge) -> Grid | None:
    if not challenge.tracks:
        return None
    grid = _grid("Of a track", "track", "takes", "precision", "a model may take")
    for name, track in challenge.tracks.items():
        kinds = ", ".join(track.accepts)
        grid.row(*map(harmless, (name, kinds, track.precision, _efficiency(track))))
    return grid


def _efficiency(track: Track) -> str:
    if track.efficiency is None:
        return NONE
    stated = ", ".join(f"{key} {value:g}" for key, value in track.efficiency.stated.items())
    return f"{stated} on {track.efficiency.device_name}"


def _phases(challenge: Challenge) -> Grid | None:
    if not challenge.phases:
        return None
    grid = _grid("Of a team on a track", "phase", *PHASE)
    for phase in challenge.phases:
        values = (getattr(phase, field) for field in PHASE.values())
        grid.row(harmless(phase.name), *(harmless(_number(value)) for value in values))
    return grid
