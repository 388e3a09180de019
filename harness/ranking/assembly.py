"""The board: who ranks where, and on what evidence. A pure function of ledger and challenge.yaml.

Which results count, and which share a table, is in `harness.ranking.counting`.
A submission that was trained on another track is a visitor: shown, never ranked here.

Order: by the declared scheme, as the ledger's newest ranking of exactly a track's complete
submissions has it (`harness.ranking.document`); one whose cases were lost by then is listed, not
ranked.
Where there is none, because a report came or went since, the track falls back to what reports
alone say, and says so: aggregate, then rank. On each metric the complete submissions are ranked
by their mean over all test cases, ties sharing the smallest rank; they are then ordered by the mean
of those ranks, ties again sharing the smallest. A submission without a complete result is listed,
never ranked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from evaluator.documents.base import Digest, Name
from evaluator.documents.scores import Ranked
from harness.challenge import DEFAULT_RANKED, Challenge, RankingScheme
from harness.ledger import LedgerVerdict, RecordedReport
from harness.ledger.report import Report
from harness.ranking.board import Board, Row, Track
from harness.ranking.combined import Result, combine, read_combined
from harness.ranking.counting import (
    grouped,
    is_reference,
    require_declared,
    sealing_of,
    whose,
)
from harness.ranking.document import TrackRanking, read_rankings
from harness.ranking.gaps import unlike_gaps
from harness.ranking.placing import Placed, by_coverage, place
from harness.ranking.worst import worst_groups


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
        ledger_reports=ledger.count("reports"),
        tracks=tuple(
            track.model_copy(
                update={
                    "title": challenge.title_of(track.track),
                    "efficiency": challenge.efficiency_of(track.track),
                    "reference": _reference(track, challenge),
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
            key=whose(row),
            team=row.team,
            method=row.method,
            number=row.entry,
            digest=row.entry_digest,
            means={key: row.groups["all"].metrics[key].mean for key in row.groups["all"].metrics},
        )
        for row in newest
    ]


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
    newest = by_coverage(ranking, ranked, scheme)
    all_reports = list(reports)
    own = grouped(entry for entry in all_reports if entry.report.home is None)
    visits = grouped(entry for entry in all_reports if entry.report.home is not None)
    tracks = [
        _track(own.get(key, ()), visits.get(key, ()), newest, ranked_by=ranked)
        for key in sorted({*own, *visits})
    ]
    sealed = {(_test_set(track), track.split_digest, track.sealing) for track in tracks}
    number = Counter(test_set for test_set, _, _ in sealed)
    return tuple(
        track.model_copy(update={"sealings": number[_test_set(track)]}) for track in tracks
    )


def _test_set(track: Track) -> tuple[str, ...]:
    return track.track, track.split_version, track.part


def _track(
    entries: Sequence[RecordedReport],
    visits: Sequence[RecordedReport],
    newest: Mapping[frozenset[Digest], TrackRanking],
    *,
    ranked_by: Sequence[Ranked],
) -> Track:
    placed, found = place(entries, newest, ranked_by)
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
        rows=_marked([_row(one) for one in placed]),
        visitors=tuple(_row(Placed(entry)) for entry in visits),
    )


def _cases(report: Report) -> int:
    """Cases of the test set, those that were left out among them."""
    scored = max((group.cases for group in report.scores.groups.values()), default=0)
    return scored + len(report.left_out)


def _marked(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows, those marked whose gap is unlike that of the track's other complete results."""
    unlike = unlike_gaps({r.entry: r.gap for r in rows if r.status == "complete" and r.gap})
    return tuple(row.model_copy(update={"gap_unlike": row.entry in unlike}) for row in rows)


def _reference(track: Track, challenge: Challenge) -> int | None:
    """The entry of the reference that challenge.yaml declares, where its gap is known."""
    declared = challenge.reference_of(track.track)
    found = (row.entry for row in track.rows if row.gap and is_reference(row, declared))
    return next(found, None)


def _row(placed: Placed) -> Row:
    entry, report = placed.entry, placed.entry.report
    gmacs = [model.gmacs for model in report.models]
    counted = [value for value in gmacs if value is not None]
    return Row(
        rank=placed.rank,
        mean_rank=placed.mean_rank,
        ranked=placed.ranked,
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
        left_out=len(report.left_out),
        trained_here=report.provenance.trained_here is not None,
        runner=report.provenance.runner,
        entry=entry.number,
        entry_digest=entry.digest,
        recorded=entry.time,
        rescores=entry.replaces,
    )
