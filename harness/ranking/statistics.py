"""Statistics of a ranking: what a track's cases say about the order of its submissions.

Pure: the same table gives the same bytes on every machine. The work grows in proportion to the
number of submissions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy.stats import kendalltau

from evaluator.scoring.bootstrap import RESAMPLES, SEED
from harness.ledger.report import Report
from harness.ranking.cases import CaseTable
from harness.ranking.document import (
    QUANTILES,
    SCHEMES,
    Agreement,
    Interval,
    RankedMetricScore,
    RankedSubmission,
    Scheme,
    Significance,
    Stability,
    TrackRanking,
    TrackStatistics,
)
from harness.ranking.metrics import METRICS
from harness.ranking.orders import (
    UNIT,
    Floats,
    Ranks,
    aggregate_order,
    case_ranks,
    exact,
    gains,
    mean_rank_order,
)
from harness.ranking.resampling import (
    Patients,
    groups,
    intervals,
    rank_bins,
    rank_counts,
    rank_intervals,
)
from harness.ranking.significance import LEVEL, Tests, better, opponents, test_based_order

DIGITS = 6  # after the point, of every number that is written down


def make_ranking(report: Report, table: CaseTable) -> TrackRanking:
    """The ranking of a track, from every case of its complete submissions.

    Args:
        report: of any of them; it says which track this is.
        table: at least one submission, in order of team and method.
    """
    found = _measure(table)
    submissions = [_ranked_submission(found, place) for place in range(len(table.entries))]
    return TrackRanking(
        track=report.track,
        split_version=report.split_version,
        metric_profile=report.scores.metric_profile,
        statistics=_statistics(found),
        submissions=tuple(sorted(submissions, key=lambda ranked: ranked.rank)),
    )


@dataclass(frozen=True)
class _Resampled:
    """The whole set of cases, and each of its resamples."""

    whole: Floats  # (submissions,)
    intervals: Floats  # (2, submissions)


@dataclass(frozen=True)
class _Found:
    """Everything that was measured, one column a submission."""

    table: CaseTable
    patients: int
    orders: Mapping[Scheme, Ranks]
    resampled_orders: Mapping[Scheme, Ranks]  # (resamples, submissions)
    rank_intervals: Ranks  # (2, submissions)
    groups: tuple[Ranks, Ranks]
    rank_counts: Ranks  # (submissions, bins)
    mean_rank: _Resampled
    means: Mapping[str, _Resampled]  # metric -> of its values
    metric_ranks: Mapping[str, Floats]  # metric -> mean rank on it alone
    quantiles: Mapping[str, Floats]  # metric -> (quantiles, submissions)
    tests: Mapping[str, Tests]
    opponents: Ranks


def _measure(table: CaseTable) -> _Found:
    patients = Patients.of(table.patients)
    weights = patients.weights()
    cases = weights @ patients.sizes
    values = {metric.key: exact(table.values[metric.key]) for metric in METRICS}
    ranks = case_ranks(values)
    rank_sums = patients.sums(sum(ranks.values(), np.zeros(1)))
    sums = {key: patients.sums(value) for key, value in values.items()}
    drawn = {key: weights @ value for key, value in sums.items()}
    drawn_ranks = weights @ rank_sums
    primary = mean_rank_order(rank_sums.sum(axis=0))
    resampled = mean_rank_order(drawn_ranks)
    against = opponents(np.argsort(primary, kind="stable"))
    per_patient = {k: gains(k, value) / patients.sizes[:, None] for k, value in sums.items()}
    tests = {key: better(value, against) for key, value in per_patient.items()}
    spans = rank_intervals(resampled)
    return _Found(
        table=table,
        patients=len(patients.sizes),
        orders={
            "mean-rank": primary,
            "aggregate": aggregate_order({k: value.sum(axis=0) for k, value in sums.items()}),
            "test-based": test_based_order(list(tests.values())),
        },
        resampled_orders={"mean-rank": resampled, "aggregate": aggregate_order(drawn)},
        rank_intervals=spans,
        groups=groups(*spans),
        rank_counts=rank_counts(resampled),
        mean_rank=_Resampled(
            rank_sums.sum(axis=0) / (len(table.patients) * len(METRICS)),
            intervals(drawn_ranks / (cases * len(METRICS))[:, None]),
        ),
        means={
            key: _Resampled(
                sums[key].sum(axis=0) * UNIT / len(table.patients),
                intervals(drawn[key] * UNIT / cases[:, None]),
            )
            for key in sums
        },
        metric_ranks={key: value.mean(axis=0) for key, value in ranks.items()},
        quantiles={k: np.quantile(v, QUANTILES, axis=0) * UNIT for k, v in values.items()},
        tests=tests,
        opponents=against,
    )


def _ranked_submission(found: _Found, place: int) -> RankedSubmission:
    return RankedSubmission(
        entry=found.table.entries[place],
        rank=int(found.orders["mean-rank"][place]),
        mean_rank=_number(found.mean_rank.whole[place]),
        mean_rank_interval=_interval(found.mean_rank.intervals[:, place]),
        rank_low=int(found.rank_intervals[0, place]),
        rank_high=int(found.rank_intervals[1, place]),
        p_first=_number((found.resampled_orders["mean-rank"][:, place] == 1).mean()),
        rank_aggregate=int(found.orders["aggregate"][place]),
        rank_test=int(found.orders["test-based"][place]),
        group_first=int(found.groups[0][place]),
        group_last=int(found.groups[1][place]),
        metrics={metric.key: _metric(found, metric.key, place) for metric in METRICS},
        rank_counts=tuple(found.rank_counts[place].tolist()),
    )


def _metric(found: _Found, key: str, place: int) -> RankedMetricScore:
    return RankedMetricScore(
        mean=_number(found.means[key].whole[place]),
        interval=_interval(found.means[key].intervals[:, place]),
        mean_rank=_number(found.metric_ranks[key][place]),
        quantiles=tuple(_number(value) for value in found.quantiles[key][:, place]),
        wins=int(found.tests[key].wins[place]),
        tests=int(found.tests[key].tests[place]),
    )


def _statistics(found: _Found) -> TrackStatistics:
    orders = found.orders
    return TrackStatistics(
        cases=len(found.table.patients),
        patients=found.patients,
        seed=SEED,
        resamples=RESAMPLES,
        agreement=tuple(
            Agreement(schemes=(one, other), tau=tau(orders[one], orders[other]))
            for one, other in combinations(SCHEMES, 2)
        ),
        stability=tuple(
            _stability(scheme, orders[scheme], resampled)
            for scheme, resampled in found.resampled_orders.items()
        ),
        rank_bins=tuple(rank_bins(len(found.table.entries)).tolist()),
        significance=Significance(
            level=LEVEL,
            entries=tuple(found.table.entries[place] for place in found.opponents),
            adjusted={
                key: tuple(tuple(row) for row in tests.adjusted[found.opponents].tolist())
                for key, tests in found.tests.items()
            },
        ),
    )


def _stability(scheme: Scheme, whole: Ranks, resampled: Ranks) -> Stability:
    orders, place = np.unique(resampled, axis=0, return_inverse=True)
    found = [tau(whole, order) for order in orders]
    taus = [value for value in (found[n] for n in place.ravel()) if value is not None]
    if not taus:
        return Stability(scheme=scheme, tau=None, interval=None)
    ends = intervals(np.array(taus)[:, None])[:, 0]
    return Stability(scheme=scheme, tau=_number(np.mean(taus)), interval=_interval(ends))


def tau(one: Ranks, other: Ranks) -> float | None:
    """Kendall's tau-b between two orders; None where one of them ties all submissions."""
    if len(set(one.tolist())) < 2 or len(set(other.tolist())) < 2:
        return None
    return _number(kendalltau(one, other).statistic)


def _number(value: float | np.floating) -> float:
    return round(float(value), DIGITS)


def _interval(ends: Floats) -> Interval:
    return Interval(low=_number(ends[0]), high=_number(ends[1]))
