"""The place of each result of a table, by a ranking of just these results or by their means.

The order is described in `harness.ranking.assembly`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from evaluator.documents.base import Digest
from evaluator.documents.scores import Ranked
from harness.challenge import RankingScheme
from harness.ledger import RecordedReport
from harness.ledger.report import Report
from harness.ranking.counting import is_complete
from harness.ranking.document import RankedSubmission, TrackRanking
from harness.ranking.orders import Floats, aggregate_rank_sums, smallest_ranks


def by_coverage(
    ranking: Iterable[TrackRanking], ranked: Sequence[Ranked], scheme: RankingScheme
) -> dict[frozenset[Digest], TrackRanking]:
    """The newest ranking by these rules of each set of complete results."""
    rules = (tuple(ranked), scheme)
    return {
        one.covers: one
        for one in ranking
        if (one.statistics.metrics, one.statistics.scheme) == rules
    }


class Placed(NamedTuple):
    """A result in its place on a board."""

    entry: RecordedReport
    rank: int | None = None  # None where it is listed, not ranked
    mean_rank: float | None = None
    ranked: RankedSubmission | None = None  # None where there is no ranking of just these


def place(
    entries: Sequence[RecordedReport],
    newest: Mapping[frozenset[Digest], TrackRanking],
    ranked_by: Sequence[Ranked],
) -> tuple[list[Placed], TrackRanking | None]:
    """The results of one table in order of rank, the unranked last; the ranking that they have.

    Args:
        newest: as `by_coverage` gives them.
        ranked_by: the metrics that order them where there is no ranking.
    """
    complete = [entry for entry in entries if is_complete(entry.report)]
    found = newest.get(frozenset(entry.digest for entry in complete))
    if found is None:
        ranks = zip(complete, *_ranks([e.report for e in complete], ranked_by), strict=True)
        ranked = [Placed(*one) for one in ranks]
    else:
        by_entry = {one.entry: one for one in found.submissions}
        here = [(entry, by_entry[entry.digest]) for entry in complete if entry.digest in by_entry]
        ranked = [Placed(entry, one.rank, one.mean_rank, one) for entry, one in here]
    there = {one.entry.number for one in ranked}
    listed = [Placed(e) for e in entries if e.number not in there]
    return [*sorted(ranked, key=lambda one: one.rank or 0), *listed], found


def _ranks(reports: Sequence[Report], ranked_by: Sequence[Ranked]) -> tuple[list[int], list[float]]:
    """The rank of each report, and its mean rank over the metrics, from the means alone."""
    means: dict[str, Floats] = {
        key: np.array([report.scores.groups["all"].metrics[key].mean for report in reports])
        for key in ranked_by
    }
    sums = aggregate_rank_sums(means)
    return smallest_ranks(sums).tolist(), (sums / len(ranked_by)).tolist()
