"""From a checked proposal to a scored one.

Its files are copied from the commit's objects, from Git LFS or from the uploads, each by its
SHA-256; or its image trains here. Then the harness evaluates it, under the challenge's policy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path

from ci.check_pr import Checked
from ci.git import Repository, parse_pointer, stored_object
from ci.state import State
from evaluator.documents.base import Digest, Name, Title
from evaluator.documents.submission import AnySubmission, ModelFile
from evaluator.errors import BusbenchError, Code
from evaluator.files import canonical_json, sha256_bytes
from evaluator.progress import quiet
from harness.challenge import Challenge
from harness.evaluation.evaluate import EvaluateSubmission
from harness.execution import Chain, ExecutionEnvironment, Serial, run_chains
from harness.execution.inputs import Input
from harness.locking import locked
from harness.proposal import Image, Proposal, refused
from harness.quotas import HandedIn
from harness.quotas.recording import Accepted, LedgerRecorder, part_of
from harness.sandbox.docker_runner import DockerRunner
from harness.sandbox.references import ImageRequest, resolve
from harness.submission import DOCUMENT, read_entry
from harness.submission import assemble as assemble_submission
from harness.training.train import TrainImage


@dataclass(frozen=True)
class Machine:
    """The organiser's side of the scoring."""

    repository: Repository
    state: State
    environment: ExecutionEnvironment  # with the organiser's keys

    @property
    def challenge(self) -> Challenge:
        """The organiser's declaration."""
        return self.environment.challenge

    @property
    def roots(self) -> tuple[Path, ...]:
        """Folders that no public word names."""
        return self.state.path, self.repository.path


@dataclass(frozen=True)
class ToTrain:
    """An image that is going to train here, as far as the policy cares."""

    team: Title
    method: Title
    track: Name
    digest: Digest  # of all that the pull request declares: what it trains is not known before


def score(
    machine: Machine, checked: Checked, *, record: bool, received: date | None = None
) -> Accepted:
    """Assemble and evaluate a proposal, or find that it was; see `harness.quotas.recording`.

    What can be refused before anything of the participant's runs is refused before it takes quota.

    Args:
        record: whether the ledger gets the report now.
        received: the UTC day on which the organiser states that it came; null: today, or the day
            that the submission log has.
    """
    state, place = machine.state, place_of(machine, checked)
    with locked(place.with_name(f".{place.name}.lock")):  # once, whoever else scores it
        identity = None if is_assembled(place) else assemble(machine, checked)

        def evaluation() -> EvaluateSubmission:
            _require_same(read_entry(place), checked)
            entrant = handed_in(machine, checked)
            part = part_of(entrant, state.ledger, machine.challenge, received=received)
            return EvaluateSubmission.of(
                place,
                state.bundles(checked.proposal.track, part),
                state.runs,
                environment=replace(machine.environment, keys=state.keys_of(part)),
            )

        recorder = LedgerRecorder(
            state.keys(),
            state.ledger,
            machine.challenge,
            entrant=handed_in(machine, checked),
            received=received,
            record=record,
        )
        if identity is None:
            chain = Chain((evaluation(),))
        else:
            chain = Chain(
                (_training(machine, checked.proposal, identity, place=place),), evaluation
            )
        for end in run_chains([chain], Serial(), recorder).failed:
            assert end.error is not None
            raise recorder.refused.get(end.job.key, end.error)
        (accepted,) = recorder.accepted.values()
        return accepted


def handed_in(machine: Machine, checked: Checked) -> HandedIn:
    """What the submission log knows the proposal by; its files must be assembled."""
    if checked.proposal.image is None:
        return read_entry(place_of(machine, checked))
    proposal, team = checked.proposal, checked.team.name
    return ToTrain(team, proposal.method, proposal.track, _decides(checked))


def _decides(checked: Checked) -> Digest:
    """A digest of all that decides a submission's files, wherever they are stored."""
    return sha256_bytes(canonical_json([checked.proposal.document(), checked.team.name]))


def place_of(machine: Machine, checked: Checked) -> Path:
    """Where a proposal is assembled."""
    return machine.state.path / "submissions" / _decides(checked)[:16]


def is_assembled(place: Path) -> bool:
    """Whether a submission's folder is there, whole."""
    return (place / DOCUMENT).exists()


def assemble(machine: Machine, checked: Checked) -> str | None:
    """Make the submission's folder, or say which image has to train first to make it.

    Returns:
        The id of an image that passed its inspection; None where the folder is there now.

    Raises:
        BusbenchError: where a file is nowhere to be found, or the image is refused.
    """
    image, submission = checked.proposal.image, checked.proposal.submission(checked.team.name)
    if submission is not None:
        assemble_submission(
            submission, partial(_find, machine, checked), place_of(machine, checked)
        )
    return None if image is None else _inspect(machine, image)


def _find(machine: Machine, checked: Checked, model: ModelFile) -> Path | bytes:
    """A declared file, from the pull request itself or from where its digest says it is stored."""
    blob = checked.blobs.get(model.file)
    data = None if blob is None else machine.repository.read(blob)
    return _stored(machine, model, data) if data is None or parse_pointer(data) else data


def _stored(machine: Machine, model: ModelFile, pointer: bytes | None) -> Path:
    """A stored file by its digest; whether it is that file, the intake checks.

    Args:
        pointer: to its object in Git LFS; None where the pull request lacks the file.
    """
    uploaded = machine.state.path / "uploads" / model.sha256
    stored = stored_object(machine.repository.git_folder(), model.sha256)
    if pointer is not None and not _is_there(uploaded) and not _is_there(stored):
        machine.repository.fetch_large(pointer, model.file)
    for place in (uploaded, stored):
        if _is_there(place):
            return place
    remedy = "Add it, or upload it to the organiser, and ask for the scoring again."
    why = f"{model.file} (SHA-256 {model.sha256}) is neither in the pull request nor uploaded"
    raise refused(why, remedy)


def _is_there(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _inspect(machine: Machine, image: Image) -> str:
    """The id of a proposal's image, fetched by its digest and inspected."""
    with machine.environment.open(quiet) as context:
        if not isinstance(context.runner, DockerRunner):
            message = "An image trains in containers only."
            raise BusbenchError(Code.USAGE, message, "Score it with --runner docker.")
        request = ImageRequest(
            image.reference,
            max_mb=machine.challenge.images.max_mb,
            command=bool(image.command),
        )
        return resolve(context.runner.client, request, quiet)


def _training(machine: Machine, proposal: Proposal, identity: str, *, place: Path) -> TrainImage:
    """The job that trains a proposal's image."""
    assert proposal.image is not None
    bundles = machine.state.bundles(proposal.track)
    return TrainImage(
        name=proposal.image.reference.partition("@")[0],
        image=ImageRequest(identity),
        command=proposal.image.command,
        bundle=Input(bundles.path / "training"),
        facts=bundles.training,
        out=place,
        environment=machine.environment,
    )


def _require_same(trained: AnySubmission, checked: Checked) -> None:
    """What is evaluated must speak for the team that proposed it, however often it is tried."""
    proposal = checked.proposal
    expected = (checked.team.name, proposal.method, proposal.track)
    if (trained.team, trained.method, trained.track) != expected:
        why = f"The image's submission.yaml speaks for {trained.method} by {trained.team}."
        remedy = f"Write the team {checked.team.name} and method {proposal.method}."
        code = Code.PULL_REQUEST_REFUSED
        raise BusbenchError(code, why, remedy, stage="train", last_line=f"{why} {remedy}")
