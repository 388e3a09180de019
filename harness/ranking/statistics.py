"""Statistics of a ranking: what a track's cases say about the order of its submissions.

Pure: the same table gives the same bytes on every machine. The work grows in proportion to the
number of submissions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from evaluator.documents.base import Digest
from evaluator.documents.scores import Ranked
from evaluator.metrics import METRICS as DEFINED
from evaluator.scoring.intervals import mean_intervals
from harness.challenge import DEFAULT_RANKED, RankingScheme
from harness.ledger.report import Report
from harness.ranking.cases import CaseTable
from harness.ranking.document import (
    QUANTILES,
    GapExcess,
    RankedMetricScore,
    RankedSubmission,
    Scheme,
    Significance,
    TrackRanking,
    TrackStatistics,
)
from harness.ranking.gaps import excess
from harness.ranking.metrics import METRICS
from harness.ranking.orders import (
    UNIT,
    Floats,
    Ranks,
    aggregate_order,
    aggregate_rank_sums,
    case_ranks,
    exact,
    gains,
    mean_rank_order,
)
from harness.ranking.rank_sets import aggregate_rank_sets, rank_sets
from harness.ranking.resampling import (
    RESAMPLES,
    SEED,
    Patients,
    groups,
    rank_bins,
    rank_counts,
)
from harness.ranking.significance import (
    LEVEL,
    Tests,
    better,
    half_widths,
    opponents,
    patients_needed,
    test_based_order,
)
from harness.ranking.stability import agreement, rounded, rounded_ends, stability


def make_ranking(
    report: Report,
    table: CaseTable,
    ranked: Sequence[Ranked] = DEFAULT_RANKED,
    *,
    scheme: RankingScheme = "mean-rank",
    reference: Digest | None = None,
) -> TrackRanking:
    """The ranking of a track, from every case of its complete submissions.

    Args:
        report: of any of them; it says which track this is.
        table: at least one submission, in order of team and method.
        ranked: the metrics that order it.
        scheme: by which they do.
        reference: the entry that consistency gaps are compared with.
    """
    found = _measure(table, ranked, scheme=scheme, reference=reference)
    submissions = [_ranked_submission(found, place) for place in range(len(table.entries))]
    return TrackRanking(
        track=report.track,
        split_version=report.split_version,
        metric_profile=report.scores.metric_profile,
        statistics=_statistics(found),
        submissions=tuple(sorted(submissions, key=lambda ranked: ranked.rank)),
    )


@dataclass(frozen=True)
class _Means:
    """Means over the cases, with their intervals."""

    whole: Floats  # (submissions,)
    intervals: Floats  # (2, submissions)


@dataclass(frozen=True)
class _Found:
    """Everything that was measured, one column a submission."""

    table: CaseTable
    ranked: tuple[Ranked, ...]
    scheme: RankingScheme
    reference: Digest | None
    patients: int
    orders: Mapping[Scheme, Ranks]
    resampled_orders: Mapping[Scheme, Ranks]  # (resamples, submissions)
    rank_sets: tuple[Ranks, Ranks]  # the first and the last rank
    groups: tuple[Ranks, Ranks]
    rank_counts: Ranks  # (submissions, bins)
    mean_rank: Floats  # (submissions,)
    mean_rank_intervals: Floats | None  # (2, submissions)
    means: Mapping[str, _Means]  # metric -> of its values
    metric_ranks: Mapping[str, Floats]  # metric -> mean rank on it alone
    quantiles: Mapping[str, Floats]  # metric -> (quantiles, submissions)
    tests: Mapping[str, Tests]
    half_widths: Mapping[str, list[Floats]]  # metric -> of each opponent, against those before it
    opponents: Ranks


def _measure(
    table: CaseTable,
    ranked: Sequence[Ranked],
    *,
    scheme: RankingScheme,
    reference: Digest | None,
) -> _Found:
    patients = Patients.of(table.patients)
    weights = patients.weights()
    values = {metric.key: exact(table.values[metric.key]) for metric in METRICS}
    ranks = case_ranks(values)
    rank_sums = patients.sums(sum((ranks[key] for key in ranked), np.zeros(1)))
    sums = {key: patients.sums(value) for key, value in values.items()}
    totals: dict[str, Floats] = {key: sums[key].sum(axis=0) for key in ranked}
    orders = _orders(rank_sums.sum(axis=0), totals)
    resampled = _orders(weights @ rank_sums, {key: weights @ sums[key] for key in ranked})
    against = opponents(np.argsort(orders[scheme], kind="stable"))
    per_patient = {k: gains(k, value) / patients.sizes[:, None] for k, value in sums.items()}
    tests = {key: better(value, against) for key, value in per_patient.items()}
    of_ranks = _means(rank_sums / len(ranked), patients, (1.0, len(table.entries)))
    if scheme == "mean-rank":
        sets = rank_sets(rank_sums)
    else:
        sets = aggregate_rank_sets([-gains(key, sums[key]) for key in ranked])
        of_ranks = replace(of_ranks, whole=aggregate_rank_sums(totals) / len(ranked))
    return _Found(
        table=table,
        ranked=tuple(ranked),
        scheme=scheme,
        reference=reference,
        patients=len(patients.sizes),
        orders={**orders, "test-based": test_based_order([tests[key] for key in ranked])},
        resampled_orders=resampled,
        rank_sets=sets.own,
        groups=groups(*sets.joint),
        rank_counts=rank_counts(resampled[scheme]),
        mean_rank=of_ranks.whole,
        mean_rank_intervals=of_ranks.intervals if scheme == "mean-rank" else None,
        means={k: _means(sums[k] * UNIT, patients, DEFINED[k].bounds) for k in sums},
        metric_ranks={key: value.mean(axis=0) for key, value in ranks.items()},
        quantiles={k: np.quantile(v, QUANTILES, axis=0) * UNIT for k, v in values.items()},
        tests=tests,
        half_widths={
            key: half_widths(value[:, against] * UNIT, patients.sizes)
            for key, value in sums.items()
        },
        opponents=against,
    )


def _orders(rank_sums: Floats, sums: Mapping[str, Floats]) -> dict[Scheme, Ranks]:
    """The orders by sums of ranks, and by sums of each ranked metric's values."""
    return {"mean-rank": mean_rank_order(rank_sums), "aggregate": aggregate_order(sums)}


def _means(sums: Floats, patients: Patients, bounds: tuple[float, float]) -> _Means:
    whole = sums.sum(axis=0) / len(patients.of_case)
    return _Means(whole, mean_intervals(sums, patients.sizes, bounds))


def _ranked_submission(found: _Found, place: int) -> RankedSubmission:
    entry, intervals = found.table.entries[place], found.mean_rank_intervals
    return RankedSubmission(
        entry=entry,
        gap_excess=_gap_excess(found, entry),
        rank=int(found.orders[found.scheme][place]),
        mean_rank=rounded(found.mean_rank[place]),
        mean_rank_interval=None if intervals is None else rounded_ends(intervals[:, place]),
        rank_low=int(found.rank_sets[0][place]),
        rank_high=int(found.rank_sets[1][place]),
        resamples_first=int((found.resampled_orders[found.scheme][:, place] == 1).sum()),
        rank_aggregate=int(found.orders["aggregate"][place]),
        rank_test=int(found.orders["test-based"][place]),
        group_first=int(found.groups[0][place]),
        group_last=int(found.groups[1][place]),
        metrics={metric.key: _metric(found, metric.key, place) for metric in METRICS},
        rank_counts=tuple(found.rank_counts[place].tolist()),
    )


def _gap_excess(found: _Found, entry: Digest) -> GapExcess | None:
    gaps, reference = found.table.gaps, found.reference
    if reference is None or entry == reference or not {entry, reference} <= gaps.keys():
        return None
    return excess(gaps[entry], gaps[reference], found.table.patients)


def _metric(found: _Found, key: str, place: int) -> RankedMetricScore:
    return RankedMetricScore(
        mean=rounded(found.means[key].whole[place]),
        interval=rounded_ends(found.means[key].intervals[:, place]),
        mean_rank=rounded(found.metric_ranks[key][place]),
        quantiles=tuple(rounded(value) for value in found.quantiles[key][:, place]),
        wins=int(found.tests[key].wins[place]),
        tests=int(found.tests[key].tests[place]),
    )


def _statistics(found: _Found) -> TrackStatistics:
    return TrackStatistics(
        metrics=found.ranked,
        scheme=found.scheme,
        reference=found.reference,
        cases=len(found.table.patients),
        patients=found.patients,
        seed=SEED,
        resamples=RESAMPLES,
        agreement=agreement(found.orders),
        stability=stability(found.orders, found.resampled_orders),
        rank_bins=tuple(rank_bins(len(found.table.entries)).tolist()),
        significance=Significance(
            level=LEVEL,
            patients_needed=patients_needed(found.tests[METRICS[0].key]),
            entries=tuple(found.table.entries[place] for place in found.opponents),
            adjusted={
                key: tuple(tuple(row) for row in tests.adjusted[found.opponents].tolist())
                for key, tests in found.tests.items()
            },
            half_widths={
                key: tuple(tuple(map(rounded, row)) for row in rows)
                for key, rows in found.half_widths.items()
            },
        ),
    )
