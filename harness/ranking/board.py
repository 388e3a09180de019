"""The board as a document: rows, tracks and all tables; `harness.ranking.assembly` makes it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Self

from pydantic import Field

from evaluator.documents.base import Contract, Digest, Name, Title
from evaluator.documents.inference import EfficiencyLimits, Runtime
from evaluator.documents.notes import MethodNotes
from evaluator.documents.scores import (
    RANKED,
    AwesomeBusScores,
    Ensemble,
    GroupScores,
    MetricProfile,
    MetricSummary,
    Ranked,
)
from harness.challenge import DEFAULT_RANKED, About, HiddenPart, Kind, LabelAccess
from harness.datasets import is_synthetic
from harness.ledger import Instant
from harness.ledger.report import Status
from harness.ranking.combined import CombinedBoard
from harness.ranking.document import RankedSubmission, Scheme, TrackStatistics
from harness.ranking.metrics import COSTS, Cost
from harness.ranking.worst import WorstGroup
from harness.sandbox.stage import RunnerName

DIGITS = 5  # of a number in a document: what a page shows has two or three


class Numbers(NamedTuple):
    """A metric over some images; in JSON, `[mean, std, ci_low, ci_high]`, as `MetricSummary`."""

    mean: float
    std: float | None
    ci_low: float | None
    ci_high: float | None

    @classmethod
    def of(cls, summary: MetricSummary) -> Self:
        """The same without the fold models' values."""
        return cls(summary.mean, summary.std, summary.ci_low, summary.ci_high)


class BriefScores(Contract):
    """Some metrics over one group of cases."""

    cases: int
    patients: int
    metrics: dict[str, Numbers]


class Row(Contract):
    """One submission on one track."""

    rank: int | None  # by the track's `order`; null where the result is incomplete
    mean_rank: float | None  # over cases and metrics, or over the metrics: by the track's `order`
    ranked: RankedSubmission | None = None  # null where not ranked, or the track has no ranking
    team: Title
    method: Title
    notes: MethodNotes = MethodNotes()  # what the team says of the method
    status: Status
    groups: dict[str, GroupScores]
    brief: dict[str, BriefScores] = Field(default_factory=dict)  # in a document alone: `briefly`
    awesome_bus_2025: AwesomeBusScores  # never ranked
    ensemble: Ensemble | None = None  # of its fold models; never ranked
    worst: dict[str, WorstGroup] = Field(default_factory=dict)  # metric -> the worst subgroup
    true_negatives: int
    invalid: int
    kind: Kind  # of submission
    models: int
    parameters: int | None  # of the largest of its models, counted; null of a container image
    gmacs: float | None  # of the largest; null where one could not be counted
    runtime: Runtime
    labels: LabelAccess
    trained_on: Name | None = None  # the track, where it is another one
    left_out: int = 0  # test cases of patients with a twin in that track's training part
    gap_unlike: bool = False  # the others' gaps of Dice, see `unlike_gaps`
    trained_here: bool
    runner: RunnerName
    entry: int
    entry_digest: Digest
    recorded: Instant  # when the entry was
    rescores: int | None = None  # number of the entry that it replaces, scored anew

    def summary(self, metric: str, group: str = "all") -> MetricSummary | None:
        """One metric over one group of cases, or None where it is missing."""
        scores = self.groups.get(group)
        return None if scores is None else scores.metrics.get(metric)

    @property
    def gap(self) -> MetricSummary | None:
        """What Dice loses on transformed images (`evaluator.consistency`); None if not measured."""
        scores = self.groups.get("all")
        found = None if scores is None else scores.consistency
        return None if found is None else found.gap.get("dice")


class Track(Contract):
    """One table: everything in it is comparable."""

    track: Name
    title: Title  # of challenge.yaml, else the track's name
    dataset: Name
    split_version: Name
    split_digest: Digest
    part: HiddenPart  # of the split, that its results were scored on
    metric_profile: MetricProfile
    units: dict[str, str]
    sealing: Digest  # of the sealed test set, see `harness.ranking.counting`
    sealings: int = 1  # sealed test sets of this track, split version and part
    lost: int = 0  # complete results that are not ranked, since no run with their cases was left
    cases: int  # of the test set
    spaced: int  # of them, with a known pixel size
    ranked_by: tuple[Ranked, ...] = DEFAULT_RANKED  # the metrics that order it
    order: Scheme = "aggregate"  # the declared scheme where there is a ranking
    statistics: TrackStatistics | None = None  # null where there is no ranking
    efficiency: EfficiencyLimits | None = None  # of challenge.yaml, kept by every row
    reference: int | None = None  # the entry whose gap the others' are shown against
    rows: tuple[Row, ...]  # in order of rank, the unranked last
    visitors: tuple[Row, ...] = ()  # trained on another track, never ranked here

    @property
    def heading(self) -> str:
        """Its title, and that it is the final where it is."""
        return f"{self.title}, final" if self.part == "final" else self.title

    @property
    def costs(self) -> tuple[Cost, ...]:
        """What any of its rows was measured to take."""
        measured = [row.runtime.measured for row in self.rows]
        return tuple(cost for cost in COSTS if any(map(cost.is_known, measured)))

    @property
    def in_pixels(self) -> str:
        """Why distances are in pixels where the size of some is known; empty elsewhere."""
        if not 0 < self.spaced < self.cases:
            return ""
        return (
            f"Distances of all {self.cases} test cases are in pixels, of none in millimetres: the "
            f"pixel size is known for {self.spaced} of them, and one mean has one unit."
        )

    @property
    def synthetic(self) -> bool:
        """Whether its images were generated, and show no patient."""
        return is_synthetic(self.dataset)

    @property
    def ranked(self) -> tuple[Row, ...]:
        """The rows with a rank."""
        return tuple(row for row in self.rows if row.rank is not None)

    @property
    def unranked(self) -> tuple[Row, ...]:
        """The rows without a complete result."""
        return tuple(row for row in self.rows if row.rank is None)


class Board(Contract):
    """`board.json`: all tables of a ledger.

    A document has less than the board in memory: all of it is in the signed reports.
    """

    schema_: Literal["busbench/board/v8"] = Field(default="busbench/board/v8", alias="schema")
    challenge: About = About()
    ledger_key: Digest  # fingerprint
    ledger_head: Digest
    ledger_updated: Instant  # when its last entry was recorded
    ledger_reports: int
    tracks: tuple[Track, ...]
    combined: CombinedBoard | None = None  # null where challenge.yaml combines no tracks

    def document(self) -> dict[str, Any]:
        """`board.json` as plain JSON values, its numbers to `DIGITS` digits."""
        tracks = tuple(
            track.model_copy(
                update={
                    "rows": tuple(map(briefly, track.rows)),
                    "visitors": tuple(map(briefly, track.visitors)),
                }
            )
            for track in self.tracks
        )
        found = super(Board, self.model_copy(update={"tracks": tracks})).document()
        return {key: _rounded(value) for key, value in found.items()}


def briefly(row: Row) -> Row:
    """The row as `board.json` has it: a tenth of what it is in memory.

    In full are the metrics that can rank, over all images. The other metrics over all images, and
    those that can rank over a part of them, are in `brief`; of the rest there is nothing.
    """
    brief = {}
    for name, group in row.groups.items():
        found = {k: v for k, v in group.metrics.items() if (k in RANKED) != (name == "all")}
        numbers = {key: Numbers.of(summary) for key, summary in found.items()}
        brief[name] = BriefScores(cases=group.cases, patients=group.patients, metrics=numbers)
    groups = {}
    if everything := row.groups.get("all"):
        ranked = {key: one for key, one in everything.metrics.items() if key in RANKED}
        groups["all"] = everything.model_copy(update={"metrics": ranked})
    return row.model_copy(update={"groups": groups, "brief": brief | row.brief})


def _rounded(value: Any) -> Any:
    """A JSON value, its numbers rounded: after the point, and those below 1 significantly."""
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    if not isinstance(value, float):
        return value
    return round(value, DIGITS) if abs(value) >= 1 else float(f"{value:.{DIGITS}g}")
