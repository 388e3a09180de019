"""Combined ranking over several tracks: the mean of a method's mean ranks, each track weighing one.

A method is what a team calls so on each of the tracks. Only those with a complete result on all
tracks are ranked, and on each track among themselves: what others did there changes nothing. The
patients of all tracks together decide the confidence sets, as those of one track do there
(`harness.ranking.rank_sets`); a patient's ranks are weighed by the size of the track.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from evaluator.documents.base import GROUP_BY_GROUP, Contract, Digest, Name, Title
from evaluator.documents.reading import Bounds
from evaluator.documents.scores import Ranked
from harness.ledger import LedgerVerdict
from harness.ranking.cases import CaseTable
from harness.ranking.document import Scheme, read_bodies
from harness.ranking.orders import (
    Floats,
    aggregate_rank_sums,
    case_ranks,
    exact,
    smallest_ranks,
)
from harness.ranking.rank_sets import rank_sets
from harness.ranking.resampling import Patients

SCHEMA: Literal["busbench/combined-ranking/v1"] = "busbench/combined-ranking/v1"
DIGITS = 6  # after the point, of every number that is written down
Key = tuple[str, ...]  # by which a method is known on every track


class CombinedSubmission(Contract):
    """One method in the ranking over all tracks."""

    entries: dict[Name, Digest]  # track -> its report's entry
    rank: int = Field(ge=1)  # by mean rank, ties share the smallest
    mean_rank: float  # of `mean_ranks`
    mean_ranks: dict[Name, float]  # track -> over cases and metrics, among these methods
    rank_low: int = Field(ge=1)  # 95 % confidence set of `rank`
    rank_high: int = Field(ge=1)


class CombinedRanking(Contract):
    """The body of a ledger entry of kind `ranking`: several tracks, and exactly these methods."""

    bounds: ClassVar[Bounds] = GROUP_BY_GROUP
    schema_: Literal["busbench/combined-ranking/v1"] = Field(default=SCHEMA, alias="schema")
    tracks: tuple[Name, ...] = Field(min_length=2)
    metrics: tuple[Ranked, ...]
    patients: int  # of all tracks
    submissions: tuple[CombinedSubmission, ...] = Field(min_length=1)  # in order of rank

    @property
    def covers(self) -> frozenset[Digest]:
        """The report entries that it ranks."""
        return frozenset(entry for one in self.submissions for entry in one.entries.values())

    @model_validator(mode="after")
    def _on_every_track(self) -> Self:
        if any(one.entries.keys() != {*self.tracks} for one in self.submissions):
            raise ValueError("submissions: each has one entry on each of the tracks")
        if len(self.covers) != len(self.submissions) * len(self.tracks):
            raise ValueError("submissions: an entry is named twice")
        return self


class CombinedRow(Contract):
    """One method over all tracks, as it is shown."""

    rank: int
    mean_rank: float
    mean_ranks: dict[Name, float]  # track -> mean rank among these methods
    team: Title
    method: Title
    entries: dict[Name, int]  # track -> number of the entry
    rank_low: int | None = None  # null where the ledger has no ranking of exactly these
    rank_high: int | None = None


class Lacking(Contract):
    """A method that is not ranked, since it has no complete result on some track."""

    team: Title
    method: Title
    tracks: tuple[Name, ...]  # on which it has none


class CombinedBoard(Contract):
    """The ranking over all tracks that challenge.yaml combines."""

    tracks: tuple[Name, ...]
    metrics: tuple[Ranked, ...]
    order: Scheme  # `mean-rank` where the ledger has the ranking, else `aggregate`
    patients: int | None  # null where the order is that of the means alone
    rows: tuple[CombinedRow, ...]  # in order of rank, team and method
    lacking: tuple[Lacking, ...]


@dataclass(frozen=True)
class Result:
    """A complete result on one track."""

    key: Key
    team: Title
    method: Title
    number: int  # of its entry
    digest: Digest  # of its entry
    means: Mapping[str, float]  # ranked metric -> mean over all cases


Results = Mapping[Name, Sequence[Result]]  # track -> those that are ranked there


def common_keys(results: Mapping[Name, Iterable[Key]]) -> list[Key]:
    """The methods that are on every track, sorted."""
    sets = [{*keys} for keys in results.values()]
    return sorted(set.intersection(*sets)) if sets else []


def make_combined(tables: Mapping[Name, CaseTable], ranked: Sequence[Ranked]) -> CombinedRanking:
    """The combined ranking from every case of every track.

    Args:
        tables: the same methods on each track, in one order.
        ranked: the metrics that order them.
    """
    cases = {track: len(table.patients) for track, table in tables.items()}
    whole = math.lcm(*cases.values())
    sums = [_patient_sums(table, ranked) for table in tables.values()]
    weighed = np.vstack([s * (whole // n) for s, n in zip(sums, cases.values(), strict=True)])
    totals, (low, high) = weighed.sum(axis=0), rank_sets(weighed).own
    means = {
        track: s.sum(axis=0) / (cases[track] * len(ranked))
        for track, s in zip(tables, sums, strict=True)
    }
    ranks, mean = smallest_ranks(totals), totals / (whole * len(tables) * len(ranked))
    submissions = [
        CombinedSubmission(
            entries={track: table.entries[place] for track, table in tables.items()},
            rank=int(ranks[place]),
            mean_rank=round(float(mean[place]), DIGITS),
            mean_ranks={t: round(float(values[place]), DIGITS) for t, values in means.items()},
            rank_low=int(low[place]),
            rank_high=int(high[place]),
        )
        for place in range(len(totals))
    ]
    return CombinedRanking(
        tracks=tuple(tables),
        metrics=tuple(ranked),
        patients=len(weighed),
        submissions=tuple(sorted(submissions, key=lambda one: one.rank)),
    )


def _patient_sums(table: CaseTable, ranked: Sequence[Ranked]) -> Floats:
    """The ranks of each submission, summed over each patient's cases and metrics."""
    ranks = case_ranks({key: exact(table.values[key]) for key in ranked})
    return Patients.of(table.patients).sums(sum(ranks.values(), np.zeros(1)))


def read_combined(ledger: LedgerVerdict) -> list[CombinedRanking]:
    """The combined rankings in a ledger; see `read_bodies`."""
    return read_bodies(ledger.rankings, CombinedRanking, (SCHEMA,))


def combine(
    results: Results, ranked: Sequence[Ranked], recorded: Iterable[CombinedRanking] = ()
) -> CombinedBoard:
    """The board over several tracks.

    Args:
        results: of every track that is combined; none of a track without results.
        ranked: the metrics that order them.
        recorded: those in the ledger, the newest last; that of exactly these results counts.
    """
    by_key = {track: {one.key: one for one in found} for track, found in results.items()}
    common = common_keys(by_key)
    covers = {by_key[track][key].digest for track in results for key in common}
    newest = {(one.tracks, one.metrics, one.covers): one for one in recorded}
    found = newest.get((tuple(results), tuple(ranked), frozenset(covers)))
    rows = _recorded_rows(found, by_key, common) if found else _mean_rows(by_key, common, ranked)
    everyone = {key: one for named in by_key.values() for key, one in named.items()}
    return CombinedBoard(
        tracks=tuple(results),
        metrics=tuple(ranked),
        order="aggregate" if found is None else "mean-rank",
        patients=None if found is None else found.patients,
        rows=tuple(sorted(rows, key=lambda row: (row.rank, row.team, row.method))),
        lacking=tuple(
            Lacking(
                team=one.team,
                method=one.method,
                tracks=tuple(track for track in results if key not in by_key[track]),
            )
            for key, one in sorted(everyone.items())
            if key not in common
        ),
    )


Named = Mapping[Name, Mapping[Key, Result]]


def _recorded_rows(
    found: CombinedRanking, by_key: Named, common: Sequence[Key]
) -> list[CombinedRow]:
    first = found.tracks[0]
    by_entry = {one.entries[first]: one for one in found.submissions}
    return [
        _row(
            by_key,
            key,
            rank=one.rank,
            mean_rank=one.mean_rank,
            mean_ranks=one.mean_ranks,
            rank_low=one.rank_low,
            rank_high=one.rank_high,
        )
        for key in common
        for one in [by_entry[by_key[first][key].digest]]
    ]


def _mean_rows(by_key: Named, common: Sequence[Key], ranked: Sequence[Ranked]) -> list[CombinedRow]:
    """By the means alone: on each track aggregate, then rank, and the mean over the tracks."""
    sums = {
        track: aggregate_rank_sums(
            {metric: np.array([named[key].means[metric] for key in common]) for metric in ranked}
        )
        for track, named in by_key.items()
    }
    totals = np.sum([*sums.values()], axis=0)
    ranks = smallest_ranks(totals)
    return [
        _row(
            by_key,
            key,
            rank=int(ranks[place]),
            mean_rank=round(float(totals[place]) / (len(ranked) * len(sums)), DIGITS),
            mean_ranks={
                track: round(float(found[place]) / len(ranked), DIGITS)
                for track, found in sums.items()
            },
        )
        for place, key in enumerate(common)
    ]


def _row(by_key: Named, key: Key, **numbers: object) -> CombinedRow:
    first = next(iter(by_key.values()))[key]
    entries = {track: named[key].number for track, named in by_key.items()}
    fields = {"team": first.team, "method": first.method, "entries": entries, **numbers}
    return CombinedRow.model_validate(fields)
