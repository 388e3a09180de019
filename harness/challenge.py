"""`challenge.yaml`: what the organiser declares.

Tracks, limits, images and phases, and the words about the challenge that readers see. A field that
no code reads has no place here. What contradicts a declaration is found in `harness.declared`.
docs/challenge-yaml.md is made of the descriptions.
"""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from evaluator.documents.base import Contract, Name, Title, read
from evaluator.documents.inference import EfficiencyLimits, Precision
from evaluator.documents.scores import Ranked
from evaluator.documents.submission import ModelLimits
from evaluator.errors import Code
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

    seconds: int = Field(default=1800, ge=1, description="Wall-clock time.")
    memory_mb: int = Field(
        default=4096, ge=128, description="Memory, in 2²⁰ bytes; what is written counts, too."
    )
    cpus: float = Field(default=2.0, gt=0, description="Processors.")
    output_mb: int = Field(default=1024, ge=1, description="All output, in 2²⁰ bytes.")
    tmp_mb: int = Field(default=512, ge=1, description="`/tmp`, in 2²⁰ bytes.")
    pids: int = Field(default=256, ge=16, description="Processes and threads.")
    output_files: int = Field(default=10_000, ge=16, description="Files and folders of output.")


class StageLimits(Contract):
    """The limits of each kind of stage."""

    train: Limits = Field(
        default=Limits(seconds=86400, memory_mb=8192, output_mb=4096),
        description="Training of a participant's image.",
    )
    gate: Limits = Field(
        default=Limits(seconds=300, memory_mb=8192, output_mb=16),
        description="The check of the ONNX files.",
    )
    infer: Limits = Field(
        default=Limits(),
        description="All models of a submission on all test images, plain and transformed; also "
        "an image that predicts.",
    )
    score: Limits = Field(
        default=Limits(output_mb=256), description="Scoring, which runs nothing of a participant's."
    )
    model: ModelLimits = Field(
        default=ModelLimits(), description="What an ONNX file may have; not of a container."
    )


class Reference(Contract):
    """A submission that others are compared with, as the ledger names it."""

    team: Title = Field(description="Its team, as on the board.")
    method: Title = Field(description="Its method, as on the board.")


class Track(Contract):
    """One dataset with one frozen split and one way of scoring, under a name of its own."""

    title: Title | None = Field(
        default=None, description="The track's name for readers. Null: the name in this file."
    )
    dataset: Name = Field(description="The dataset, as `busbench prepare` named it.")
    split_version: Name = Field(description="The version of the frozen split.")
    folds: int = Field(default=5, ge=2, le=20, description="How many folds the split has.")
    metric_profile: RankingProfile = Field(
        default=DEFAULT, description="What masks are measured by: name and version of a profile."
    )
    labels: LabelAccess = Field(
        default="public",
        description="Whether anybody may have the test labels. Private ones need phases that hide.",
    )
    precision: Precision = Field(
        default="fp32", description="The arithmetic that masks are made with; others need a GPU."
    )
    max_dice_loss: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None,
        description="How much Dice that precision may lose against fp32 on the validation cases. "
        "Needed where `precision` is not fp32, and refused where it is.",
    )
    efficiency: EfficiencyLimits | None = Field(
        default=None, description="The most that a model may take. Null: no limits."
    )
    accepts: tuple[Kind, ...] = Field(
        default=("onnx",),
        min_length=1,
        description="Kinds of submissions: ONNX files, a container image that predicts, or both.",
    )
    probabilities: bool = Field(
        default=False,
        description="Whether the models' probabilities are kept, a byte a pixel: for calibration, "
        "and for the mean of the fold models. Images, and networks that give masks, have none.",
    )
    reference: Reference | None = Field(
        default=None,
        description="The submission whose consistency gap the others' are shown against.",
    )

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

    name: Name = Field(description="Its name; not `open`.")
    opens: date | None = Field(
        default=None, description="The first day, UTC. Null: open since ever."
    )
    closes: date | None = Field(default=None, description="The last day, UTC. Null: no end.")
    quota_per_day: int | None = Field(
        default=None, ge=1, description="Submissions of a team on a track in a day. Null: any."
    )
    quota: int | None = Field(
        default=None, ge=1, description="The same in the whole phase. Null: any."
    )
    steps: dict[Ranked, Step] | None = Field(
        default=None,
        description="Which metrics a team is shown, each with the step that it is rounded to. "
        "`{}`: no number. Null: everything, exactly.",
    )
    groups: tuple[str, ...] = Field(
        default=("all",), description="The groups of cases whose numbers are shown."
    )
    ladder: bool = Field(
        default=True,
        description="Whether a number is shown only where it beats the team's best by the step.",
    )
    part: HiddenPart = Field(
        default="test",
        description="The part of the split on which it scores; `final` in the last phase alone.",
    )
    results_open: date | None = Field(
        default=None,
        description="The day from which exact and per-case results may be read. Null: at once "
        "where `steps` is null, else never.",
    )

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

    metrics: tuple[Ranked, ...] = Field(
        default=DEFAULT_RANKED,
        min_length=1,
        description="The metrics that order the submissions. IoU is a function of Dice, case by "
        "case: to rank both counts the overlap twice.",
    )
    scheme: RankingScheme = Field(
        default="mean-rank",
        description="`mean-rank` ranks each case and takes the mean; `aggregate` takes means over "
        "the cases and ranks them.",
    )

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError("metrics: each may be named once")
        return self


class Generalisation(Contract):
    """Evaluation of submissions on the test sets of tracks that they were not trained on."""

    twins: tuple[Path, ...] = Field(
        min_length=1,
        description="Files `cross-audit.json` of `busbench audit STORE STORE --out DIR`, relative "
        "to this file's folder. Patients with a twin in training are left out.",
    )


ImageName = Annotated[str, StringConstraints(pattern=r"^[^\s@]+(@sha256:[0-9a-f]{64})?$")]


class Images(Contract):
    """How the containers' images are made."""

    base: ImageName = Field(
        default=BASE_IMAGE, description="The image that all are built on, by digest."
    )
    wheelhouse: Path | None = Field(
        default=None,
        description="A folder of wheels, for sites without a package index. Null: none.",
    )
    max_mb: int = Field(
        default=20_480, ge=1, description="The largest image of a participant, in 2²⁰ bytes."
    )


class About(Contract):
    """What readers of the board learn about the challenge."""

    title: Title = Field(default="BUSBench", description="The challenge's name, on every page.")
    organiser: Title | None = Field(default=None, description="Who organises it.")
    contact: Title | None = Field(
        default=None, description="How to reach them: an address for mail, a URL, or words."
    )
    description: Prose | None = Field(default=None, description="What it is about.")
    rules: Prose | None = Field(default=None, description="Its rules: the text, or its URL.")


class Challenge(About):
    """A whole challenge."""

    schema_: Literal["busbench/challenge/v1"] = Field(
        default="busbench/challenge/v1",
        alias="schema",
        description="The version of this document.",
    )
    logo: Path | None = Field(
        default=None,
        description="A PNG file of at most 256 KiB and 2000 pixels a side, relative to this file's "
        "folder, for the head of every page of the site. Null: none.",
    )
    tracks: dict[Name, Track] = Field(
        default_factory=dict,
        description="The tracks, by name. None: any bundle and any report is taken.",
    )
    limits: StageLimits = Field(
        default=StageLimits(), description="What containers and ONNX files may take."
    )
    images: Images = Field(default=Images(), description="How the containers' images are made.")
    ranking: RankingRules = Field(
        default=RankingRules(), description="What orders the submissions of a track."
    )
    generalisation: Generalisation | None = Field(
        default=None,
        description="Lets submissions be tested on tracks that are not their own. Null: no.",
    )
    combined: tuple[Name, ...] = Field(
        default=(), description="Tracks whose mean ranks are averaged to one more ranking."
    )
    phases: tuple[Phase, ...] = Field(
        default=(), description="When teams submit, and what they learn. None: always open."
    )

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
    beside: dict[str, object] = {}
    if found.logo is not None:
        beside["logo"] = path.parent / found.logo
    if found.generalisation is not None:
        twins = tuple(path.parent / file for file in found.generalisation.twins)
        beside["generalisation"] = Generalisation(twins=twins)
    return found.model_copy(update=beside)
