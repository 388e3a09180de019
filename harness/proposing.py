"""Writer of a pull request's files: its manifest, and the ONNX files of a submission folder.

What is written has been checked as the pull request will be, as far as a clone's files tell.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from evaluator.documents.base import parse, read
from evaluator.documents.submission import AnySubmission, ImageSubmission
from evaluator.errors import Code
from evaluator.files import disk_errors, write_atomically
from harness.challenge import Challenge
from harness.proposal import SCHEMA, TEAMS, Onnx, Proposal, Teams, require_size, require_suited
from harness.submission import take


@dataclass(frozen=True)
class Entrant:
    """In whose name a proposal is."""

    team: str  # its folder in `submissions`
    method: str  # the manifest's name, without the suffix
    account: str | None = None  # that will open the pull request; null: not checked


def propose_folder(
    submission: Path, clone: Path, entrant: Entrant, *, challenge: Challenge
) -> tuple[Path, Proposal]:
    """Write the manifest and any models of a submission folder, over those of an earlier one.

    Returns:
        The manifest, and what it says.

    Raises:
        BusbenchError: `submission-invalid`, `pull-request-refused` or `challenge-invalid`, before
            anything is written; `disk-full`.
    """
    with tempfile.TemporaryDirectory(prefix="busbench-propose-") as name:
        place = Path(name, "submission")
        taken = take(submission, place)
        if isinstance(taken, ImageSubmission):
            named = {"track": taken.track, "predict": taken.image, **_stated(taken)}
            return _write(named, (), clone, entrant=entrant, challenge=challenge)
        onnx = Onnx(**{field: getattr(taken, field) for field in Onnx.model_fields})
        models = [place / model.file for model in taken.models]
        for model in models:
            require_size(model.name, model.stat().st_size)
        ways = {"track": taken.track, "onnx": onnx.document(), **_stated(taken)}
        return _write(ways, models, clone, entrant=entrant, challenge=challenge)


def _stated(taken: AnySubmission) -> dict[str, Any]:
    """What a submission says of its method, as fields of a manifest."""
    return {name: value for name, value in taken.notes.document().items() if value}


def propose_image(
    reference: str,
    command: tuple[str, ...],
    clone: Path,
    *,
    track: str,
    entrant: Entrant,
    challenge: Challenge,
) -> tuple[Path, Proposal]:
    """Write the manifest of an image that trains; see `propose_folder`.

    Args:
        reference: registry/name@sha256:digest.
        command: what follows its entry point; may contain {bundle} and {out}.
    """
    ways = {"track": track, "image": {"reference": reference, "command": list(command)}}
    return _write(ways, (), clone, entrant=entrant, challenge=challenge)


def _write(
    ways: dict[str, Any],
    models: Sequence[Path],
    clone: Path,
    *,
    entrant: Entrant,
    challenge: Challenge,
) -> tuple[Path, Proposal]:
    """Write a manifest and its models' files, which replace those of an earlier proposal.

    An image has none: files that an earlier proposal left would be refused beside its manifest.
    """
    manifest, data, proposal = _checked(ways, clone, entrant, challenge=challenge)
    folder = manifest.with_suffix("")
    partial = folder.with_name(f".{folder.name}.partial")
    with disk_errors(manifest.parent):
        shutil.rmtree(partial, ignore_errors=True)
        if models:
            partial.mkdir(parents=True)
        for model in models:
            shutil.copyfile(model, partial / model.name)
        if folder.is_symlink():
            folder.unlink()  # what it leads to is not ours
        elif folder.exists():
            shutil.rmtree(folder)
        if models:
            partial.replace(folder)
        write_atomically(manifest, data)
    return manifest, proposal


def _checked(
    ways: dict[str, Any], clone: Path, entrant: Entrant, *, challenge: Challenge
) -> tuple[Path, bytes, Proposal]:
    """A manifest that would be taken: where it lies, its bytes, and what it says."""
    remedy = "Run it in your clone of the challenge's repository, or name that with --repository."
    teams = read(Teams, clone / TEAMS, Code.PULL_REQUEST_REFUSED, remedy=remedy)
    document = {
        "schema": SCHEMA,
        "team": entrant.team,
        "method": entrant.method,
        **ways,
    }
    path = f"submissions/{entrant.team}/{entrant.method}.yaml"
    data = yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode()
    remedy = "Name team and method as their folder and file: lower case, without spaces."
    proposal = parse(Proposal, data, path, code=Code.SUBMISSION_INVALID, remedy=remedy)
    require_suited(proposal, challenge, path)
    team = teams.registered(entrant.team)
    if entrant.account is not None:
        team.require_account(entrant.team, entrant.account)
    return clone / path, data, proposal
