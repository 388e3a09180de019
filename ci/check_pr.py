"""Check of a pull request: its scope, its names, its sizes, its schema, its track.

    python -m ci.check_pr --base main --head SHA --author ACCOUNT

Needs no secret and runs nothing of the participant's. Exit status 10 where it is refused.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ci.git import REGULAR, Change, Pointer, Repository, parse_pointer
from ci.public import Desk
from evaluator.documents.base import parse
from evaluator.documents.reading import MAX_YAML_CHARACTERS
from evaluator.errors import BusbenchError, Code
from evaluator.files import sha256_bytes
from evaluator.harmless import Harmless, harmless
from harness.challenge import Challenge, load_challenge
from harness.proposal import (
    FILE,
    GUIDE,
    MANIFEST,
    TEAMS,
    Proposal,
    Team,
    Teams,
    refused,
    require_size,
    require_suited,
)

MAX_FILES = 64
DELETED = "D"


@dataclass(frozen=True)
class Checked:
    """A pull request that may be taken."""

    proposal: Proposal
    team: Team
    blobs: Mapping[str, str]  # file name -> blob, for the ONNX files that lie in it


def check(
    repository: Repository,
    base: str,
    head: str,
    *,
    author: str,
    challenge: Challenge,
    since_they_parted: bool = True,
) -> Checked:
    """Check what `head` changes against `base`.

    Args:
        author: the account that opened the pull request.

    Raises:
        BusbenchError: `pull-request-refused`, `submission-invalid` for the manifest itself,
            `challenge-invalid` where the organiser's list of teams is wrong.
    """
    changes = repository.changes(base, head, since_they_parted=since_they_parted)
    manifest = find_manifest(changes)
    teams = read_teams(repository, base)
    found = MANIFEST.fullmatch(manifest.path)
    assert found is not None
    team = teams.of(found["team"], author)
    proposal = read_proposal(repository, manifest, challenge)
    if (proposal.team, proposal.method) != (found["team"], found["method"]):
        why = f"{manifest.path} speaks for {proposal.team}/{proposal.method}"
        raise refused(why, "Let team and method be the names of the folder and the file.")
    files = [change for change in changes if change is not manifest]
    return Checked(proposal, team, _model_blobs(repository, proposal, files, head=head))


def find_manifest(changes: Sequence[Change]) -> Change:
    """The one manifest that is added or changed; everything else must belong to it."""
    if len(changes) > MAX_FILES:
        raise refused(f"It changes {len(changes)} files", GUIDE)
    manifests = [change for change in changes if MANIFEST.fullmatch(change.path)]
    if len(manifests) != 1:
        outside = next((c.path for c in changes if c not in manifests), None)
        also = f", but also {outside!a}" if outside else ""
        raise refused(f"It changes {len(manifests)} submissions, not one{also}", GUIDE)
    (manifest,) = manifests
    folder = manifest.path.removesuffix(".yaml")
    for change in changes:
        file = FILE.fullmatch(change.path)
        mine = file is not None and change.path.rpartition("/")[0] == folder
        if mine and change.status == DELETED:
            continue  # a model of an earlier submission of this method
        if change.status not in "AM" or change.mode != REGULAR:
            why = f"{change.path!a} is deleted, a link, a program or a submodule"
            raise refused(why, "Add regular files only; results are retracted by the organiser.")
        if change is not manifest and not mine:
            raise refused(f"It changes {change.path!a}, which is not this submission's", GUIDE)
    return manifest


def read_teams(repository: Repository, base: str) -> Teams:
    """The list of teams, as the base branch has it."""
    blob = repository.blob_at(base, TEAMS)
    remedy = "The organiser keeps it; docs/pull-requests.md shows one."
    if blob is None:
        raise BusbenchError(Code.CHALLENGE_INVALID, f"The base branch has no {TEAMS}.", remedy)
    return parse(Teams, repository.read(blob), TEAMS, code=Code.CHALLENGE_INVALID, remedy=remedy)


def read_proposal(repository: Repository, manifest: Change, challenge: Challenge) -> Proposal:
    """The manifest, for a track that challenge.yaml declares.

    Raises:
        BusbenchError: as `require_suited`.
    """
    if repository.size(manifest.blob) > MAX_YAML_CHARACTERS:
        raise refused(f"{manifest.path} is larger than {MAX_YAML_CHARACTERS} bytes", GUIDE)
    data = repository.read(manifest.blob)
    proposal = parse(Proposal, data, manifest.path, code=Code.SUBMISSION_INVALID, remedy=GUIDE)
    require_suited(proposal, challenge, manifest.path)
    return proposal


def _model_blobs(
    repository: Repository, proposal: Proposal, files: Sequence[Change], *, head: str
) -> dict[str, str]:
    """The files that lie in the pull request; none of them undeclared."""
    declared = set() if proposal.onnx is None else {model.file for model in proposal.onnx.models}
    for change in files:
        if change.status != DELETED and change.path.rpartition("/")[2] not in declared:
            raise refused(f"{change.path} is not declared in its manifest", GUIDE)
    return select_models(repository, proposal, head)


def select_models(repository: Repository, proposal: Proposal, commit: str) -> dict[str, str]:
    """The declared files that lie in a commit, each with the bytes that were declared.

    Returns:
        File name -> blob. A file that is missing here may have been uploaded.
    """
    folder = f"submissions/{proposal.team}/{proposal.method}"
    blobs = {}
    for model in () if proposal.onnx is None else proposal.onnx.models:
        blob = repository.blob_at(commit, f"{folder}/{model.file}")
        if blob is not None:
            _check_model(repository, f"{folder}/{model.file}", blob, sha256=model.sha256)
            blobs[model.file] = blob
    return blobs


def _check_model(repository: Repository, path: str, blob: str, *, sha256: str) -> None:
    size = repository.size(blob)
    require_size(path, size)
    data = repository.read(blob)
    pointer = parse_pointer(data) or Pointer(sha256_bytes(data), size)
    require_size(path, pointer.size)
    if pointer.sha256 != sha256:
        raise refused(f"{path} is not the file that was declared", "Write its SHA-256 again.")


def arguments(description: str | None) -> argparse.ArgumentParser:
    """The options that all scripts share."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repository", type=Path, default=Path(), help="a clone; default: here")
    parser.add_argument("--challenge", type=Path, help="default: challenge.yaml")
    parser.add_argument("--private", type=Path, help="a folder for what may not be public")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the check and print one line; the organiser's part of an error goes to --private."""
    parser = arguments(__doc__)
    parser.add_argument("--base", required=True, help="the branch to merge into")
    parser.add_argument("--head", required=True, help="the pull request's newest commit")
    parser.add_argument("--author", required=True, help="the account that opened it")
    chosen = parser.parse_args(argv)
    repository = Repository(chosen.repository)

    def run() -> list[Harmless]:
        checked = check(
            repository,
            repository.commit(chosen.base),
            repository.commit(chosen.head),
            author=chosen.author,
            challenge=load_challenge(chosen.challenge),
        )
        proposal = checked.proposal
        who = f"{proposal.method} by {checked.team.name} on {proposal.track}"
        return [harmless(f"may be taken: {who}"), harmless(proposal.only_scoring)]

    return Desk(chosen.private, [chosen.repository]).report(run)


if __name__ == "__main__":
    sys.exit(main())
