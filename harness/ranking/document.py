"""The ranking of a track: what the organiser computed from every case, as a document.

The board is a pure function of the ledger, and per-case results stay with the organiser. So the
statistics that need them are computed once, for exactly the reports of the ledger, and
enter it as a signed entry of kind `ranking`: this document. All orders, probabilities and
intervals in it are about the complete submissions of one track; see `harness.ranking.statistics`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import ClassVar, Literal, NamedTuple, Self, TypeVar, get_args

from pydantic import Field, model_validator

from evaluator.documents.base import GROUP_BY_GROUP, Contract, Digest, Name, parse
from evaluator.documents.reading import Bounds
from evaluator.documents.scores import MetricProfile, Ranked
from evaluator.errors import Code
from evaluator.files import canonical_json
from harness.challenge import RankingScheme
from harness.ledger import LedgerVerdict, RecordedRanking

T = TypeVar("T", bound=Contract)
Schema = Literal["busbench/ranking/v4", "busbench/ranking/v5"]
SCHEMA: Schema = "busbench/ranking/v5"  # v4 has no `half_widths`
SCHEMAS = get_args(Schema)  # that are read
CODE = Code.LEDGER_INVALID
REMEDY = "Compute it anew with `busbench rank LEDGER --cases RUNS --keys KEYS`."
Scheme = Literal["mean-rank", "aggregate", "test-based"]
SCHEMES: tuple[Scheme, ...] = ("mean-rank", "aggregate", "test-based")
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # of a metric over the cases: no single extreme case
MAX_BINS = 32  # of the histogram of ranks
MAX_OPPONENTS = 50  # of a submission in the tests, and so the size of the significance matrix


class Interval(NamedTuple):
    """The two ends of an interval; in JSON, `[low, high]`."""

    low: float
    high: float


class RankedMetricScore(Contract):
    """One metric of one submission over all cases, its fold models averaged case by case."""

    mean: float
    interval: Interval  # 95 %, of the mean
    mean_rank: float  # of its ranks case by case on this metric alone
    quantiles: tuple[float, ...]  # of the cases, at `QUANTILES`
    wins: int = Field(ge=0)  # opponents that it is significantly better than
    tests: int = Field(ge=0)  # opponents that it was tested against


class GapExcess(Contract):
    """By how much a submission's consistency gap of Dice is larger than the reference's.

    Case by case, on the same windows.
    """

    cases: int
    mean: float
    interval: Interval | None  # 95 %, over patients; null for few


class RankedSubmission(Contract):
    """One complete submission among the others of its track."""

    entry: Digest  # of its report's entry in the ledger
    rank: int = Field(ge=1)  # by the track's scheme, ties share the smallest
    mean_rank: float  # over cases and metrics; of the scheme `aggregate` over the metrics
    mean_rank_interval: Interval | None  # null of the scheme `aggregate`
    rank_low: int = Field(ge=1)  # 95 % confidence set of `rank`: `harness.ranking.rank_sets`
    rank_high: int = Field(ge=1)
    resamples_first: int = Field(ge=0)  # resamples where it has rank 1, ties included
    rank_aggregate: int = Field(ge=1)  # aggregate, then rank
    rank_test: int = Field(ge=1)  # by significant wins
    group_first: int = Field(ge=1)  # it is in the groups from this number to the next one
    group_last: int = Field(ge=1)
    metrics: dict[str, RankedMetricScore]
    rank_counts: tuple[int, ...]  # resamples in which its rank fell into each of `rank_bins`
    gap_excess: GapExcess | None = None  # null of the reference itself, and where there is none

    @property
    def rank_set(self) -> str:
        """Its confidence set of ranks, as people read it."""
        return f"{self.rank_low}–{self.rank_high}"

    @property
    def group(self) -> str:
        """Its groups as letters: two submissions that share one cannot be distinguished."""
        return rank_groups(self.group_first, self.group_last)


class Agreement(Contract):
    """Kendall's tau-b between two schemes' orders of the same submissions."""

    schemes: tuple[Scheme, Scheme]
    tau: float | None  # null where an order ties all submissions


class Stability(Contract):
    """Kendall's tau-b between a scheme's order and its order in each resample."""

    scheme: Scheme
    tau: float | None  # mean over the resamples
    interval: Interval | None  # the middle 95 % over the resamples


class Significance(Contract):
    """Who is better than whom: one-sided paired Wilcoxon signed-rank tests, adjusted by Holm.

    `adjusted[metric][i][j]` is the p-value of `entries[i]` being better than `entries[j]`; 1 on
    the diagonal. The entries are in primary order: all submissions, or `MAX_OPPONENTS` of them
    that are spread evenly over the order where there are more.

    `half_widths[metric][i][j]`, j below i, is half of the 95 % interval of the difference between
    the means of `entries[i]` and `entries[j]`, over patients.
    """

    level: float  # significant is what lies below
    patients_needed: int  # with fewer, no pair can be significant, however large the difference
    entries: tuple[Digest, ...]
    adjusted: dict[str, tuple[tuple[float, ...], ...]]
    half_widths: dict[str, tuple[tuple[float, ...], ...]] = Field(default_factory=dict)


class TrackStatistics(Contract):
    """What is said of a track's complete submissions together."""

    metrics: tuple[Ranked, ...]  # that order the submissions
    scheme: RankingScheme = "mean-rank"  # by which they do
    reference: Digest | None = None  # the entry that consistency gaps are compared with
    cases: int
    patients: int
    seed: int
    resamples: int
    agreement: tuple[Agreement, ...]  # of every pair of schemes
    stability: tuple[Stability, ...]
    rank_bins: tuple[int, ...]  # the first rank of each bin of `rank_counts`
    significance: Significance


class TrackRanking(Contract):
    """The body of a ledger entry of kind `ranking`: one track, and exactly these submissions."""

    bounds: ClassVar[Bounds] = GROUP_BY_GROUP
    schema_: Schema = Field(default=SCHEMA, alias="schema")
    track: Name
    split_version: Name
    metric_profile: MetricProfile
    statistics: TrackStatistics
    submissions: tuple[RankedSubmission, ...] = Field(
        min_length=1
    )  # in order of rank, team and method
    lost: tuple[Digest, ...] = ()  # complete, but left out: no run with their cases was found

    @property
    def covers(self) -> frozenset[Digest]:
        """The complete report entries at the time: those ranked, and those left out."""
        return frozenset((*(ranked.entry for ranked in self.submissions), *self.lost))

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        if len(self.covers) != len(self.submissions) + len(self.lost):
            raise ValueError("submissions: an entry is named twice")
        return self

    @model_validator(mode="after")
    def _half_widths_of_each_pair(self) -> Self:
        tests = self.statistics.significance
        measured = {} if self.schema_ == "busbench/ranking/v4" else tests.adjusted
        if tests.half_widths.keys() != measured.keys():
            raise ValueError("half_widths: of other metrics than the tests")
        lengths = [*range(len(tests.entries))]
        if any([*map(len, rows)] != lengths for rows in tests.half_widths.values()):
            raise ValueError("half_widths: not one number for each pair")
        return self


def read_rankings(ledger: LedgerVerdict) -> list[TrackRanking]:
    """The rankings of single tracks in a ledger; see `read_bodies`."""
    return read_bodies(ledger.rankings, TrackRanking, SCHEMAS)


def read_bodies(
    rankings: Iterable[RecordedRanking], kind: type[T], schemas: Collection[str]
) -> list[T]:
    """Those of a ledger's rankings that are of one kind; other schemas are passed over.

    Raises:
        BusbenchError: `ledger-invalid` where one breaks its schema.
    """
    return [
        parse(kind, canonical_json(found.body), f"entry {found.number}", code=CODE, remedy=REMEDY)
        for found in rankings
        if found.body.get("schema") in schemas
    ]


def rank_groups(first: int, last: int) -> str:
    """Groups `first` to `last`, from 1, as letters: `A`, or `A–C`."""
    return _letter(first) if first == last else f"{_letter(first)}–{_letter(last)}"


def _letter(number: int) -> str:
    """1 is A, 26 is Z, 27 is AA."""
    text = ""
    while number:
        number, place = divmod(number - 1, 26)
        text = chr(ord("A") + place) + text
    return text
