"""Checks that nothing contradicts `challenge.yaml`.

A bundle or a report says of which track it is and what that track is; `require_track` compares this
with the declaration wherever one is taken in.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from evaluator.errors import BusbenchError, Code
from harness.challenge import FINEST, Challenge, HiddenPart, Kind


@dataclass(frozen=True)
class StatedTrack:
    """What a document says of its track; null where it says nothing."""

    track: str
    dataset: str | None = None
    split_version: str | None = None
    folds: int | None = None
    metric_profile: str | None = None
    labels: str | None = None
    precision: str | None = None


def check_track(challenge: Challenge, stated: StatedTrack) -> str | None:
    """How `stated` contradicts challenge.yaml, in half a sentence; None where it does not.

    A challenge that declares no tracks leaves nothing to contradict.
    """
    if not challenge.tracks:
        return None
    declared = challenge.tracks.get(stated.track)
    if declared is None:
        return f"challenge.yaml declares no track {stated.track}, but {', '.join(challenge.tracks)}"
    for field, value in vars(stated).items():
        if field != "track" and value not in (None, expected := getattr(declared, field)):
            what = f"the {field} of track {stated.track}"
            return f"{what} is {value}, and challenge.yaml declares {expected}"
    return None


def check_accepted(challenge: Challenge, track: str, kind: Kind) -> str | None:
    """Why a track takes no submission of a kind, in half a sentence; None where it does.

    What is not declared takes all kinds.
    """
    declared = challenge.tracks.get(track)
    if declared is None or kind in declared.accepts:
        return None
    words = {"onnx": "ONNX files", "image": "a container image"}
    taken = " or ".join(words[each] for each in declared.accepts)
    return f"it consists of {words[kind]}, and challenge.yaml accepts {taken} on track {track}"


def require_track(challenge: Challenge, stated: StatedTrack, where: str | Path) -> None:
    """Refuse what challenge.yaml does not declare.

    Args:
        where: the file or entry that says so, for the error.

    Raises:
        BusbenchError: `challenge-invalid`, naming the first field that differs and both values.
    """
    problem = check_track(challenge, stated)
    if problem is not None:
        remedy = "Correct challenge.yaml, or name the challenge that this belongs to."
        raise BusbenchError(Code.CHALLENGE_INVALID, f"{where}: {problem}.", remedy)


def require_final_part(
    challenge: Challenge, parts: Collection[HiddenPart], where: str | Path
) -> None:
    """Refuse a split without a final part where a phase scores one.

    Args:
        where: the split or bundle, for the error.

    Raises:
        BusbenchError: `challenge-invalid`, naming the phase.
    """
    phase = challenge.final_phase
    if phase is not None and "final" not in parts:
        message = f"{where} has no final part, and the phase {phase.name} scores one."
        remedy = f"Freeze a new version with --final, or leave `part` of {phase.name} out."
        raise BusbenchError(Code.CHALLENGE_INVALID, message, remedy)


def check_hidden(challenge: Challenge, stated: StatedTrack) -> str | None:
    """How private labels would reach a team as feedback, in half a sentence; None where never.

    Labels are private where the bundle or report says so, also if no track is declared; where it
    says nothing, challenge.yaml decides.
    """
    declared = challenge.tracks.get(stated.track)
    labels = stated.labels or (declared.labels if declared else "public")
    if labels == "public":
        return None
    if not challenge.phases:
        return "challenge.yaml has no phases, so every number and every case is shown"
    for phase in challenge.phases:
        if not phase.hides:
            return f"the phase {phase.name} shows numbers exactly, or in steps too fine to hide any"
    return challenge.opens_early()


def require_hidden(challenge: Challenge, stated: StatedTrack, where: str | Path) -> None:
    """Refuse feedback, or a ledger that leads to it, on private labels that nothing hides.

    Args:
        where: the bundle or entry that says so, for the error.

    Raises:
        BusbenchError: `challenge-invalid`, naming the phase that hides nothing.
    """
    problem = check_hidden(challenge, stated)
    if problem is not None:
        message = f"{where}: the labels of track {stated.track} are private, but {problem}."
        finest = ", ".join(f"{metric} {step:g}" for metric, step in FINEST.items())
        remedy = (
            f"Declare phases with steps of at least {finest}, and results_open after the last one."
        )
        raise BusbenchError(Code.CHALLENGE_INVALID, message, remedy)
