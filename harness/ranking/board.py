"""Who is first, and by what rule?

Within a track (and split version and metric profile, for other numbers cannot be compared) the
complete reports are ranked by each metric's mean over all test cases; ties share the smallest
rank. The place is decided by the mean of a report's ranks, and ties share a place again
(aggregate, then rank). An incomplete report stands below, without a place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from scipy.stats import rankdata

from evaluator.contract import Digest, Report
from evaluator.metrics import METRICS
from harness.ledger import RecordedReport

RANKED = ("dice", "iou", "hd95")
_TOLERANCE = 9  # decimals of a mean rank, so that sums in another order still tie


@dataclass(frozen=True)
class Row:
    """One report on the board."""

    rank: int | None  # null: incomplete, so not ranked
    mean_rank: float | None
    entry: Digest  # of the ledger entry that vouches for it
    report: Report


@dataclass(frozen=True)
class Track:
    """Reports that can be compared with each other."""

    name: str
    dataset: str
    split_version: str
    metric_profile: str
    units: dict[str, str]
    rows: tuple[Row, ...]  # by rank, then team and method; incomplete ones last


@dataclass(frozen=True)
class Board:
    """All tracks, by name."""

    ledger_head: Digest
    tracks: tuple[Track, ...]


def build_board(reports: Iterable[RecordedReport], ledger_head: Digest) -> Board:
    """The board that follows from a ledger's reports, whatever their order."""
    tracks: dict[tuple[str, ...], list[RecordedReport]] = {}
    for recorded in reports:
        report = recorded.report
        units = (f"{name}={unit}" for name, unit in sorted(report.scores.units.items()))
        key = (report.track, report.split_version, report.scores.metric_profile, *units)
        tracks.setdefault(key, []).append(recorded)
    return Board(ledger_head, tuple(_track(tracks[key]) for key in sorted(tracks)))


def _track(recorded: Sequence[RecordedReport]) -> Track:
    complete = [r for r in recorded if r.report.status == "complete"]
    incomplete = [r for r in recorded if r.report.status != "complete"]
    means = mean_ranks([r.report for r in complete])
    places = [int(place) for place in rankdata(means, method="min")]
    rows = [
        Row(place, mean, entry.digest, entry.report)
        for place, mean, entry in zip(places, means, complete, strict=True)
    ]
    rows.sort(key=lambda row: (row.rank or 0, row.report.team, row.report.method, row.entry))
    below = [Row(None, None, entry.digest, entry.report) for entry in incomplete]
    below.sort(key=lambda row: (row.report.team, row.report.method, row.entry))
    first = recorded[0].report
    return Track(
        name=first.track,
        dataset=first.dataset,
        split_version=first.split_version,
        metric_profile=first.scores.metric_profile,
        units=first.scores.units,
        rows=(*rows, *below),
    )


def mean_ranks(reports: Sequence[Report]) -> list[float]:
    """The mean over `RANKED` of each report's rank by that metric's mean; 1 is best."""
    if not reports:
        return []
    totals = [0.0] * len(reports)
    for name in RANKED:
        means = [report.scores.groups["all"].metrics[name].mean for report in reports]
        signed = [-mean if METRICS[name].higher_is_better else mean for mean in means]
        totals = [t + r for t, r in zip(totals, rankdata(signed, method="min"), strict=True)]
    return [round(float(total) / len(RANKED), _TOLERANCE) for total in totals]
