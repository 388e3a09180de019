"""Documents of a pull request: what a participant declares, and who may speak for which team.

`submissions/<team>/<method>.yaml` names an image, by digest, that trains or predicts on the
organiser's machine, or ONNX files, by SHA-256, that are in the pull request (also through Git LFS)
or among the organiser's uploads. The organiser keeps `submissions/teams.yaml`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from evaluator.documents.base import FILE_NAME, MAX_FOLDS, NAME, Contract, Name, Title
from evaluator.documents.input_spec import InputSpec
from evaluator.documents.notes import MethodNotes, from_version_1
from evaluator.documents.submission import (
    MAX_MODEL_BYTES,
    MAX_PARAMETERS,
    AnySubmission,
    ImageSubmission,
    ModelFile,
    OutputSpec,
    Submission,
    new_fields,
)
from evaluator.errors import BusbenchError, Code
from harness.challenge import Challenge, Kind
from harness.declared import StatedTrack, check_accepted, check_track, require_hidden
from harness.submission import require_folds
from harness.team_names import check_visible, find_same

TEAMS = "submissions/teams.yaml"
MANIFEST = re.compile(rf"submissions/(?P<team>{NAME})/(?P<method>{NAME})\.yaml")
FILE = re.compile(rf"submissions/(?P<team>{NAME})/(?P<method>{NAME})/(?P<file>{FILE_NAME})")
GUIDE = "docs/pull-requests.md shows what a pull request contains."
ONLY_SCORING = {
    "onnx": "Only the scoring finds what the gate says of the files, whether inference on the test "
    "images ends within its limits with valid masks, and what quota and phase allow; `busbench "
    "check` and `busbench evaluate --part val` try the first two on your side.",
    "image": "Only the scoring finds whether the image can be fetched and starts, what its "
    "training leaves, what gate and inference make of that, and what quota and phase allow; "
    "`busbench train` and then `busbench check` try the first three on your side.",
    "predict": "Only the scoring finds whether the image can be fetched and starts, whether it "
    "gives each test image a valid mask, the same twice and within the limits, and what quota and "
    "phase allow; `busbench evaluate --part val` tries the first two on your side.",
}
# registry/name@sha256:digest; a tag may come before the digest and means nothing
ImageReference = Annotated[
    str,
    StringConstraints(
        max_length=300,
        pattern=r"^[a-z0-9][a-z0-9._:/-]*@sha256:[0-9a-f]{64}$",
    ),
]
Word = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[ -~]+$")]


SCHEMA = "busbench/proposal/v2"


class Onnx(Contract):
    """ONNX files and how they want to be run; as in `submission.yaml`."""

    input: InputSpec
    output: OutputSpec = OutputSpec()
    models: tuple[ModelFile, ...] = Field(min_length=1, max_length=MAX_FOLDS)
    opset: int = Field(ge=11, le=26)
    parameters: int | None = Field(default=None, ge=0, le=MAX_PARAMETERS)


class Image(Contract):
    """An image that trains, leaving `submission.yaml` and ONNX files in its output."""

    reference: ImageReference
    command: tuple[Word, ...] = Field(default=(), max_length=32)  # may contain {bundle} and {out}


class Proposal(MethodNotes):
    """`submissions/<team>/<method>.yaml`; an image that trains has notes in submission.yaml."""

    schema_: Literal["busbench/proposal/v2"] = Field(alias="schema")
    team: Name  # the folder's name
    method: Name  # the file's name
    track: Name
    onnx: Onnx | None = None
    image: Image | None = None  # that trains
    predict: ImageReference | None = None  # an image that predicts

    @model_validator(mode="before")
    @classmethod
    def _version_1(cls, fields: Any) -> Any:
        said = fields if isinstance(fields, dict) else {}
        onnx = said.get("onnx")
        given = onnx.get("input") if isinstance(onnx, dict) else None
        return from_version_1(fields, SCHEMA, new_fields({**said, "input": given}))

    @property
    def kind(self) -> Kind:
        """What is evaluated in the end; an image that trains leaves ONNX files."""
        return "onnx" if self.predict is None else "image"

    @property
    def only_scoring(self) -> str:
        """What no check without the organiser's machine can find, for people."""
        return next(words for field, words in ONLY_SCORING.items() if getattr(self, field))

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(getattr(self, field) is not None for field in ONLY_SCORING) != 1:
            raise ValueError(f"name one of {', '.join(ONLY_SCORING)}")
        if self.image is not None and not self.says_nothing:
            raise ValueError(
                "an image that trains states description, authors and the like in its own "
                "submission.yaml: leave them out here"
            )
        try:
            self.submission(self.team)
        except ValidationError as error:  # what the harness would refuse later
            raise ValueError(f"onnx: {error.errors()[0]['msg']}") from error
        return self

    def submission(self, team: Title) -> AnySubmission | None:
        """What is evaluated, under the team's registered name; null where it is trained first."""
        named = {"team": team, "method": self.method, "track": self.track}
        named |= self.notes.document()
        if self.predict is not None:
            return ImageSubmission.model_validate({**named, "image": self.predict})
        return None if self.onnx is None else Submission(**named, **dict(self.onnx.__dict__))


def require_suited(proposal: Proposal, challenge: Challenge, where: str) -> None:
    """Refuse a proposal for a track or folds that challenge.yaml does not declare.

    Raises:
        BusbenchError: `pull-request-refused` or `submission-invalid`; `challenge-invalid` where
            no track is declared, for then no pull request can be taken, and where its labels are
            private and a phase hides nothing.
    """
    if not challenge.tracks:
        message = "challenge.yaml declares no tracks, so there is none to hand in for."
        remedy = "Declare them; docs/organiser.md shows how."
        raise BusbenchError(Code.CHALLENGE_INVALID, message, remedy)
    problem = check_track(challenge, StatedTrack(proposal.track))
    if problem is not None:
        raise refused(f"{where}: {problem}", "Name a track that is declared.")
    require_hidden(challenge, StatedTrack(proposal.track), "challenge.yaml")
    if (problem := check_accepted(challenge, proposal.track, proposal.kind)) is not None:
        raise refused(f"{where}: {problem}", "Hand in what the track takes.")
    submission = proposal.submission(proposal.team)
    if submission is not None:
        require_folds(submission, challenge.tracks[proposal.track].folds, where)


def require_size(file: str, size: int) -> None:
    """Refuse a model of too many bytes."""
    if size > MAX_MODEL_BYTES:
        raise refused(f"{file} is larger than {MAX_MODEL_BYTES} bytes", "Hand in less.")


def refused(why: str, remedy: str) -> BusbenchError:
    """The error of a pull request that is not taken."""
    return BusbenchError(Code.PULL_REQUEST_REFUSED, f"{why}.", remedy)


class Team(Contract):
    """One team: the name that the board shows, and the accounts that may hand in for it."""

    name: Title
    accounts: tuple[str, ...] = Field(min_length=1)

    def require_account(self, slug: str, author: str) -> None:
        """Raise `pull-request-refused` where `author` may not hand in for the team `slug`."""
        if author.casefold() not in {account.casefold() for account in self.accounts}:
            why = f"{author} may not hand in for the team {slug}"
            remedy = "Hand in for your own team, or ask the organiser to add the account."
            raise refused(why, remedy)


class Teams(Contract):
    """`submissions/teams.yaml`, by the names of their folders."""

    schema_: Literal["busbench/teams/v1"] = Field(alias="schema")
    teams: dict[Name, Team]

    @model_validator(mode="after")
    def _apart(self) -> Self:
        names = [team.name for team in self.teams.values()]
        for number, name in enumerate(names):
            problem = check_visible(name)
            if problem is not None:
                raise ValueError(problem)
            if (same := find_same(name, names[:number])) is not None:
                raise ValueError(f"{same!a} and {name!a} are the same name to a reader")
        return self

    def of(self, slug: str, author: str) -> Team:
        """The team whose folder is `slug`, if `author` may hand in for it.

        Raises:
            BusbenchError: `pull-request-refused` where there is none, or it is not theirs.
        """
        team = self.registered(slug)
        team.require_account(slug, author)
        return team

    def registered(self, slug: str) -> Team:
        """The team whose folder is `slug`; raises `pull-request-refused` where there is none."""
        team = self.teams.get(slug)
        if team is None:
            remedy = "Ask the organiser to register it; that is done once."
            raise refused(f"The team {slug} is not in {TEAMS}", remedy)
        return team
