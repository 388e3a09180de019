"""`challenge.yaml`: what the organiser declares, and the one check that nothing contradicts it.

Tracks, limits, images and phases, and the words about the challenge that readers see. A bundle or
a report says of which track it is and what that track is; `require_track` compares this with the
declaration wherever one is taken in. A field that no code reads has no place here.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from evaluator.documents.base import Contract, Name, Title, read
from evaluator.documents.inference import EfficiencyLimits, Precision
from evaluator.documents.scores import Ranked
from evaluator.documents.submission import ModelLimits
from evaluator.errors import BusbenchError, Code
from evaluator.metrics import ranking_profile
from evaluator.metrics.profiles import DEFAULT

RankingScheme = Literal["mean-rank", "aggregate"]
# ^ rank each case and take the mean, or take means over the cases and rank them
Kind = Literal["onnx", "image"]  # of submission
MEASURED_OF_IMAGES = frozenset({"seconds"})  # well enough to be limited
LabelAccess = Literal["public", "private"]  # whether participants may have the test labels
HiddenPart = Literal["test", "final"]  # of a split: for development, and to decide
Component = Literal["participant", "infer", "infer-gpu", "triton", "score"]
Step = Annotated[float, Field(gt=0)]
# The finest steps that hide anything: below them, numbers are as good as exact.
FINEST: dict[Ranked, float] = {"dice": 0.001, "iou": 0.001, "hd95": 0.1}
DEFAULT_RANKED: tuple[Ranked, ...] = ("dice", "hd95")
WITHOUT_PHASES = "open"  # the phase of what is received while no phases are declared
CHALLENGE = Path("challenge.yaml")  # of the working folder, where none is named
# A tag can move; a digest cannot. With Python 3.11.16, of September 2026.
BASE_IMAGE = (
    "python:3.11-slim-bookworm"
    "@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b"
)
# A name alone is version 1, for ever: no release changes what a track is measured by.
RankingProfile = Annotated[str, AfterValidator(lambda label: ranking_profile(label).label)]
# Paragraphs for people: of the characters that steer a terminal, the line feed alone.
Prose = Annotated[
    str,
    StringConstraints(
        strip_whitespace=True,
        min_length=1,
        max_length=4000,
        pattern=r"^[^\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]+$",
    ),
]


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
    gate: Limits = Limits(seconds=300, memory_mb=8192, output_mb=16)
    infer: Limits = Limits()
    score: Limits = Limits(output_mb=256)
    model: ModelLimits = ModelLimits()  # of the file, and not of a container


class Reference(Contract):
    """A submission that others are compared with, as the ledger names it."""

    team: Title
    method: Title


class Track(Contract):
    """One dataset with one frozen split and one way of scoring, under a name of its own."""

    title: Title | None = None  # for readers; null: the track's name
    dataset: Name
    split_version: Name
    folds: int = Field(default=5, ge=2, le=20)
    metric_profile: RankingProfile = DEFAULT  # name and version, of what masks are measured by
    labels: LabelAccess = "public"
    precision: Precision = "fp32"  # of the arithmetic that masks are made with
    max_dice_loss: Annotated[float, Field(ge=0, le=1)] | None = None
    # ^ of that precision, against fp32 on the validation cases; only where it is not fp32
    efficiency: EfficiencyLimits | None = None  # what a model may take; null: no limits
    accepts: tuple[Kind, ...] = Field(default=("onnx",), min_length=1)
    # ^ kinds of submissions: ONNX files, or a container image that predicts
    probabilities: bool = False  # whether they are kept, a byte a pixel, for calibration and the
    # mean of the fold models; there are none of images, and of networks that give masks
    reference: Reference | None = None  # whose consistency gap the others' are shown against

    @model_validator(mode="after")
    def _states_its_loss(self) -> Self:
        if (self.precision == "fp32") != (self.max_dice_loss is None):
            raise ValueError("max_dice_loss: a precision other than fp32 needs it, fp32 has none")
        return self

    @model_validator(mode="after")
    def _measures_what_it_limits(self) -> Self:
        stated = set() if self.efficiency is None else {*self.efficiency.stated}
        unmeasured = sorted(stated - MEASURED_OF_IMAGES)
        if self.probabilities and self.accepts == ("image",):
            raise ValueError("probabilities: container images, which alone it accepts, give masks")
        if len({*self.accepts}) < len(self.accepts):
            raise ValueError("accepts: each kind may be named once")
        if "image" in self.accepts and unmeasured:
            raise ValueError(f"efficiency: {unmeasured[0]} is not measured of container images")
        return self


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
    part: HiddenPart = "test"  # of the split, on which it scores
    results_open: date | None = None  # from when exact and per-case results may be read; null:
    # at once where nothing is rounded, else never

    def is_open(self, day: date) -> bool:
        """Whether submissions are taken on that day."""
        return (self.opens or day) <= day <= (self.closes or day)

    @property
    def hides(self) -> bool:
        """Whether what it shows is coarse: of few numbers, none finer than `FINEST`."""
        return self.steps is not None and all(
            step >= FINEST[metric] for metric, step in self.steps.items()
        )

    def shows_all(self, day: date) -> bool:
        """Whether exact and per-case results may be read on that day."""
        return self.steps is None if self.results_open is None else self.results_open <= day

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.opens and self.closes and self.closes < self.opens:
            raise ValueError("closes: a phase closes after it opens")
        if self.part == "final" and (self.closes is None or self.steps != {}):
            raise ValueError(
                "part: a phase that scores the final part shows no number (steps: {}) and closes "
                "on a day, for what is shown of it before the end is no final any more"
            )
        return self


class RankingRules(Contract):
    """What orders the submissions of a track."""

    metrics: tuple[Ranked, ...] = Field(default=DEFAULT_RANKED, min_length=1)
    # ^ IoU is a function of Dice, case by case: to rank both counts the overlap twice
    scheme: RankingScheme = "mean-rank"

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError("metrics: each may be named once")
        return self


class Generalisation(Contract):
    """Evaluation of submissions on the test sets of tracks that they were not trained on."""

    twins: tuple[Path, ...] = Field(min_length=1)
    # ^ cross-audit.json files of `busbench audit STORE STORE --out`, from this file's folder


ImageName = Annotated[str, StringConstraints(pattern=r"^[^\s@]+(@sha256:[0-9a-f]{64})?$")]


class Images(Contract):
    """How the containers' images are made."""

    base: ImageName = BASE_IMAGE
    wheelhouse: Path | None = None  # a folder of wheels, for sites without a package index
    max_mb: int = Field(default=20_480, ge=1)  # of a participant's image


class About(Contract):
    """What readers of the board learn about the challenge."""

    title: Title = "BUSBench"
    organiser: Title | None = None
    contact: Title | None = None  # an address for mail, a URL, or words
    description: Prose | None = None
    rules: Prose | None = None  # the text, or its URL


class Challenge(About):
    """A whole challenge."""

    schema_: Literal["busbench/challenge/v1"] = Field(
        default="busbench/challenge/v1", alias="schema"
    )
    tracks: dict[Name, Track] = Field(default_factory=dict)
    limits: StageLimits = StageLimits()
    images: Images = Images()
    ranking: RankingRules = RankingRules()
    generalisation: Generalisation | None = None  # null: each submission on its own track alone
    combined: tuple[Name, ...] = ()  # tracks whose mean ranks are averaged to one more ranking
    phases: tuple[Phase, ...] = ()  # none: always open, nothing hidden

    @property
    def final_phase(self) -> Phase | None:
        """The phase that scores the final part; None where all score the test part."""
        return next((phase for phase in self.phases if phase.part == "final"), None)

    @property
    def about(self) -> About:
        """What readers learn, without the rest."""
        return About(**{name: getattr(self, name) for name in About.model_fields})

    def title_of(self, track: Name) -> Title:
        """A track's title, or its name where it has none."""
        declared = self.tracks.get(track)
        return track if declared is None or declared.title is None else declared.title

    def precision_of(self, track: Name) -> Precision:
        """What a track's masks are computed in: fp32 where challenge.yaml does not say."""
        return self.tracks[track].precision if track in self.tracks else "fp32"

    def profile_of(self, track: Name) -> str:
        """The version of the metric profile that a track is measured by."""
        return self.tracks[track].metric_profile if track in self.tracks else DEFAULT

    def max_dice_loss_of(self, track: Name) -> float | None:
        """The most that a track's precision may lose against fp32; None in fp32."""
        declared = self.tracks.get(track)
        return None if declared is None else declared.max_dice_loss

    def efficiency_of(self, track: Name) -> EfficiencyLimits | None:
        """The limits on what a model may take on a track; None where there are none."""
        declared = self.tracks.get(track)
        return None if declared is None else declared.efficiency

    def asks_probabilities(self, track: Name) -> bool:
        """Whether probabilities are kept on a track."""
        return track in self.tracks and self.tracks[track].probabilities

    def reference_of(self, track: Name) -> Reference | None:
        """Whose consistency gap those of a track are shown against."""
        return self.tracks[track].reference if track in self.tracks else None

    def with_limits(self, infer: Limits, model: ModelLimits) -> Challenge:
        """The same with other limits of inference, and on a model."""
        limits = self.limits.model_copy(update={"infer": infer, "model": model})
        return self.model_copy(update={"limits": limits})

    @model_validator(mode="after")
    def _combines_tracks(self) -> Self:
        if len(self.combined) == 1 or len({*self.combined}) < len(self.combined):
            raise ValueError("combined: name two tracks or more, each once")
        if unknown := [name for name in self.combined if name not in self.tracks]:
            raise ValueError(f"combined: {unknown[0]} is no declared track")
        return self

    @model_validator(mode="after")
    def _phases_apart(self) -> Self:
        names = [phase.name for phase in self.phases]
        if len({*names, WITHOUT_PHASES}) <= len(names):
            raise ValueError(f"phases: each name may be used once, and {WITHOUT_PHASES} not at all")
        for before, after in pairwise(self.phases):
            if before.closes is None or after.opens is None or after.opens <= before.closes:
                raise ValueError(f"phases: {after.name} must open after {before.name} closes")
        if any(phase.part == "final" for phase in self.phases[:-1]):
            raise ValueError("phases: only the last may score the final part")
        is_private = any(track.labels == "private" for track in self.tracks.values())
        early = self.opens_early()
        if early is not None and (is_private or self.phases[-1].closes is not None):
            raise ValueError(f"phases: {early}")
        return self

    def opens_early(self) -> str | None:
        """Which phase's exact results may be read while another takes submissions, and when."""
        last = self.phases[-1].closes or date.max if self.phases else date.min
        for phase in self.phases:
            if phase.results_open is not None and phase.results_open <= last:
                closes = f"closes on {last}" if last < date.max else "never closes"
                return (
                    f"results_open of {phase.name} is {phase.results_open}, "
                    f"and the last phase {closes}"
                )
        return None


def load_challenge(path: Path | None) -> Challenge:
    """Read `path`; without one, `challenge.yaml` of the working folder, else the defaults.

    Raises:
        BusbenchError: `challenge-invalid`, naming the first field that is wrong.
    """
    if path is None:
        path = CHALLENGE
        if not path.exists():
            return Challenge()
    remedy = "Compare it with challenge.yaml of the project."
    found = read(Challenge, path, Code.CHALLENGE_INVALID, remedy=remedy)
    if found.generalisation is None:
        return found
    beside = Generalisation(twins=tuple(path.parent / file for file in found.generalisation.twins))
    return found.model_copy(update={"generalisation": beside})


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
