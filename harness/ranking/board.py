"""The board: who ranks where, and on what evidence. A pure function of ledger and challenge.yaml.

Results are comparable, and so share a table, where track, split and its part, metric profile, units
and the sealing agree: another sealing may have other labels, and has other secret seeds.
Of a team's entries for one method the latest counts; the earlier ones stay in the ledger.

A submission that was trained on another track is a visitor: shown, never ranked here.

Order: by mean rank over all cases and metrics, ties sharing the smallest rank, as the ledger's
newest ranking of exactly a track's complete submissions has it (`harness.ranking.document`); one
whose cases were lost by then is listed, not ranked.
Where there is none, because a report came or went since, the track falls back to what reports
alone say, and says so: aggregate, then rank. On each metric the complete submissions are ranked
by their mean over all test cases, ties sharing the smallest rank; they are then ordered by the mean
of those ranks, ties again sharing the smallest. A submission without a complete result is listed,
never ranked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from pydantic import Field

from evaluator.documents.base import Contract, Digest, Name, Title
from evaluator.documents.inference import EfficiencyLimits, Runtime
from evaluator.documents.notes import MethodNotes
from evaluator.documents.scores import (
    AwesomeBusScores,
    Ensemble,
    GroupScores,
    MetricProfile,
    MetricSummary,
    Ranked,
)
from evaluator.errors import BusbenchError, Code
from evaluator.files import canonical_json, sha256_bytes
from harness.challenge import (
    DEFAULT_RANKED,
    About,
    Challenge,
    HiddenPart,
    Kind,
    LabelAccess,
    RankingScheme,
    Reference,
    require_track,
)
from harness.datasets import is_synthetic
from harness.ledger import Instant, LedgerVerdict, RecordedReport
from harness.ledger.report import Report, Status
from harness.ranking.combined import CombinedBoard, Result, combine, read_combined
from harness.ranking.document import (
    RankedSubmission,
    Scheme,
    TrackRanking,
    TrackStatistics,
    read_rankings,
)
from harness.ranking.gaps import unlike_gaps
from harness.ranking.metrics import COSTS, METRICS, Cost
from harness.ranking.orders import Floats, aggregate_rank_sums, smallest_ranks
from harness.ranking.worst import WorstGroup, worst_groups
from harness.sandbox.stage import RunnerName
from harness.team_names import one_spelling


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
    sealing: Digest  # of the sealed test set, see `sealing_of`
    sealings: int = 1  # tables on this track, split version and part: one for each sealing
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
    """`board.json`: all tables of a ledger."""

    schema_: Literal["busbench/board/v6"] = Field(default="busbench/board/v6", alias="schema")
    challenge: About = About()
    ledger_key: Digest  # fingerprint
    ledger_head: Digest
    ledger_updated: Instant  # when its last entry was recorded
    ledger_reports: int
    tracks: tuple[Track, ...]
    combined: CombinedBoard | None = None  # null where challenge.yaml combines no tracks


def make_board(ledger: LedgerVerdict, challenge: Challenge | None = None) -> Board:
    """The board of a verified ledger.

    Raises:
        BusbenchError: `challenge-invalid` where a report that counts is not on a track as
            challenge.yaml declares it; `ledger-invalid` where a ranking breaks its schema.
    """
    challenge = challenge or Challenge()
    require_declared(ledger, challenge)
    rules = challenge.ranking
    tracks = rank(ledger.reports, read_rankings(ledger), rules.metrics, scheme=rules.scheme)
    combined = None
    if challenge.combined:
        results = {name: _results(tracks, name) for name in challenge.combined}
        combined = combine(results, rules.metrics, read_combined(ledger))
    return Board(
        challenge=challenge.about,
        ledger_key=ledger.key,
        ledger_head=ledger.head,
        ledger_updated=ledger.time,
        ledger_reports=len(ledger.reports),
        tracks=tuple(
            track.model_copy(
                update={
                    "title": challenge.title_of(track.track),
                    "efficiency": challenge.efficiency_of(track.track),
                    "reference": _reference(track, challenge.reference_of(track.track)),
                }
            )
            for track in tracks
        ),
        combined=combined,
    )


def _results(tracks: Iterable[Track], name: Name) -> list[Result]:
    """The ranked results of a track's test part; of several tables, of the one with the newest."""
    own = [track for track in tracks if (track.track, track.part) == (name, "test")]
    tables = [track.ranked for track in own if track.ranked]
    newest = max(tables, key=lambda rows: max(row.entry for row in rows), default=())
    return [
        Result(
            key=(one_spelling(row.team) or row.team, row.method),
            team=row.team,
            method=row.method,
            number=row.entry,
            digest=row.entry_digest,
            means={key: row.groups["all"].metrics[key].mean for key in row.groups["all"].metrics},
        )
        for row in newest
    ]


def require_declared(ledger: LedgerVerdict, challenge: Challenge) -> None:
    """Refuse a ledger whose reports are not on tracks as challenge.yaml declares, within limits.

    Raises:
        BusbenchError: `challenge-invalid`, naming the first entry that contradicts it.
    """
    left = ledger.left
    for entry in ledger.reports:
        where, stated = f"Entry {entry.number} of the ledger", entry.report.stated_track
        if entry.digest in left:  # by name: it is in a table of its own
            stated = replace(stated, metric_profile=None)
        require_track(challenge, stated, where)
        problem = _over_limits(challenge, entry.report)
        if problem is not None:
            message = f"{where} is not within the limits of track {entry.report.track}: {problem}."
            remedy = "Evaluate it again with this challenge.yaml, or retract it."
            raise BusbenchError(Code.CHALLENGE_INVALID, message, remedy)


def _over_limits(challenge: Challenge, report: Report) -> str | None:
    """Which of its track's limits a report is over, in half a sentence; None where none."""
    limits, loss = challenge.efficiency_of(report.track), report.precision_loss
    over = None if limits is None else limits.check(report.runtime.measured)
    if over is None and loss is not None:
        over = loss.check(challenge.max_dice_loss_of(report.track))
    return over


def rank(
    reports: Iterable[RecordedReport],
    ranking: Iterable[TrackRanking] = (),
    ranked: Sequence[Ranked] = DEFAULT_RANKED,
    *,
    scheme: RankingScheme = "mean-rank",
) -> tuple[Track, ...]:
    """Sort reports into tracks, in order of their names, and rank each track's submissions.

    Args:
        ranking: those in the ledger, the newest last; only those by the same rules count.
        ranked: the metrics that order a track.
        scheme: by which they do.
    """
    rules = (tuple(ranked), scheme)
    newest = {
        one.covers: one
        for one in ranking
        if (one.statistics.metrics, one.statistics.scheme) == rules
    }
    all_reports = list(reports)
    own = _grouped(entry for entry in all_reports if entry.report.home is None)
    visits = _grouped(entry for entry in all_reports if entry.report.home is not None)
    tracks = [
        _track(own.get(key, ()), visits.get(key, ()), newest, ranked_by=ranked)
        for key in sorted({*own, *visits})
    ]
    tables = Counter(map(_test_set, tracks))
    return tuple(
        track.model_copy(update={"sealings": tables[_test_set(track)]}) for track in tracks
    )


def _test_set(track: Track) -> tuple[str, ...]:
    return track.track, track.split_version, track.part


def by_track(reports: Iterable[RecordedReport]) -> list[list[RecordedReport]]:
    """The reports that may be ranked, track by track, in order of team and method."""
    found = _grouped(entry for entry in reports if entry.report.home is None)
    return [found[key] for key in sorted(found)]


def _grouped(reports: Iterable[RecordedReport]) -> dict[tuple[str, ...], list[RecordedReport]]:
    """The reports that count, by what they must agree on, in order of team and method.

    Of a team's method the newest counts, however the team's name is spelled in it; a result that
    was scored anew is as old as what it replaces.
    """
    tracks: dict[tuple[str, ...], dict[tuple[str, ...], RecordedReport]] = {}
    for recorded in sorted(reports, key=lambda entry: entry.place):
        of_track = tracks.setdefault(comparable(recorded.report), {})
        of_track[entry_name(recorded.report)] = recorded
    return {
        key: sorted(found.values(), key=lambda entry: (entry.report.team, entry.report.method))
        for key, found in tracks.items()
    }


def entry_name(report: Report) -> tuple[str, ...]:
    """What two reports of one row share: team, in one spelling, method, and where it was trained.

    The last is empty where that is the report's own track.
    """
    home = () if report.home is None else (report.home.track, report.home.split_digest)
    return (one_spelling(report.team) or report.team, report.method, *home)


def comparable(report: Report) -> tuple[str, ...]:
    """What two reports must agree on to share a table."""
    digest = report.provenance.split_digest
    split = (report.track, report.dataset, report.split_version, digest, report.part)
    units = sorted(f"{metric}={unit}" for metric, unit in report.scores.units.items())
    profiles = (report.scores.metric_profile, report.scores.awesome_bus_2025.metric_profile)
    measured = (f"{profile.label}={profile.digest}" for profile in profiles)
    return (*split, *measured, *units, sealing_of(report))


def sealing_of(report: Report) -> Digest:
    """What a report's test set was sealed as: its images with all seeds, its labels, who has them.

    Sealing the same split again gives another one.
    """
    made = report.provenance
    sealed = [made.sealed_images_sha256, made.sealed_labels_sha256, report.labels]
    return sha256_bytes(canonical_json(sealed))


def _track(
    entries: Sequence[RecordedReport],
    visits: Sequence[RecordedReport],
    newest: Mapping[frozenset[Digest], TrackRanking],
    *,
    ranked_by: Sequence[Ranked],
) -> Track:
    complete = [entry for entry in entries if is_complete(entry.report)]
    found = newest.get(frozenset(entry.digest for entry in complete))
    if found is None:
        ranks = zip(complete, *_ranks([e.report for e in complete], ranked_by), strict=True)
        ranked = [_row(*one) for one in ranks]
    else:
        by_entry = {one.entry: one for one in found.submissions}
        here = [(entry, by_entry[entry.digest]) for entry in complete if entry.digest in by_entry]
        ranked = [_row(entry, one.rank, one.mean_rank, ranked=one) for entry, one in here]
    shown = {row.entry for row in ranked}
    listed = [_row(entry, None, None) for entry in entries if entry.number not in shown]
    first = [*entries, *visits][0].report
    return Track(
        track=first.track,
        title=first.track,
        dataset=first.dataset,
        split_version=first.split_version,
        split_digest=first.provenance.split_digest,
        part=first.part,
        metric_profile=first.scores.metric_profile,
        units=first.scores.units,
        sealing=sealing_of(first),
        lost=0 if found is None else len(found.lost),
        cases=_cases(first),
        spaced=_cases(first) if first.scores.units.get("hd95") == "mm" else first.scores.spaced,
        ranked_by=tuple(ranked_by),
        order="aggregate" if found is None else found.statistics.scheme,
        statistics=None if found is None else found.statistics,
        rows=_marked([*sorted(ranked, key=lambda row: row.rank or 0), *listed]),
        visitors=tuple(_row(entry, None, None) for entry in visits),
    )


def _cases(report: Report) -> int:
    """Cases of the test set, those that were left out among them."""
    scored = max((group.cases for group in report.scores.groups.values()), default=0)
    return scored + (0 if report.home is None else len(report.home.left_out))


def _marked(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows, those marked whose gap is unlike that of the track's other complete results."""
    unlike = unlike_gaps({r.entry: r.gap for r in rows if r.status == "complete" and r.gap})
    return tuple(row.model_copy(update={"gap_unlike": row.entry in unlike}) for row in rows)


def _reference(track: Track, declared: Reference | None) -> int | None:
    """The entry of the reference that challenge.yaml declares, where its gap is known."""
    wanted = None if declared is None else (one_spelling(declared.team), declared.method)
    found = (r.entry for r in track.rows if (one_spelling(r.team), r.method) == wanted and r.gap)
    return next(found, None)


def is_reference(report: Report, declared: Reference | None) -> bool:
    """Whether a report is of the reference that challenge.yaml declares for its track."""
    wanted = None if declared is None else (one_spelling(declared.team), declared.method)
    return (one_spelling(report.team), report.method) == wanted


def is_complete(report: Report) -> bool:
    """Complete by its own word, and every ranked metric is really there."""
    everything = report.scores.groups.get("all")
    present = set() if everything is None else everything.metrics.keys()
    return report.status == "complete" and present >= {metric.key for metric in METRICS}


def _ranks(reports: Sequence[Report], ranked_by: Sequence[Ranked]) -> tuple[list[int], list[float]]:
    """The rank of each report, and its mean rank over the metrics, from the means alone."""
    means: dict[str, Floats] = {
        key: np.array([report.scores.groups["all"].metrics[key].mean for report in reports])
        for key in ranked_by
    }
    sums = aggregate_rank_sums(means)
    return smallest_ranks(sums).tolist(), (sums / len(ranked_by)).tolist()


def _row(
    entry: RecordedReport,
    rank_: int | None,
    mean_rank: float | None,
    *,
    ranked: RankedSubmission | None = None,
) -> Row:
    report = entry.report
    gmacs = [model.gmacs for model in report.models]
    counted = [value for value in gmacs if value is not None]
    return Row(
        rank=rank_,
        mean_rank=mean_rank,
        ranked=ranked,
        team=report.team,
        method=report.method,
        notes=report.notes,
        status=report.status,
        groups=report.scores.groups,
        awesome_bus_2025=report.scores.awesome_bus_2025,
        ensemble=report.scores.ensemble,
        worst=worst_groups(report.scores.groups),
        true_negatives=report.scores.true_negatives,
        invalid=report.scores.invalid,
        models=len(report.models),
        parameters=max((model.parameters for model in report.models), default=None),
        kind="image" if report.is_image else "onnx",
        gmacs=max(counted) if counted and len(counted) == len(gmacs) else None,
        runtime=report.runtime,
        labels=report.labels,
        trained_on=None if report.home is None else report.home.track,
        left_out=0 if report.home is None else len(report.home.left_out),
        trained_here=report.provenance.trained_here is not None,
        runner=report.provenance.runner,
        entry=entry.number,
        entry_digest=entry.digest,
        recorded=entry.time,
        rescores=entry.replaces,
    )
