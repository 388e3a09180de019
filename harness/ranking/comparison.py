"""Comparison of two submissions case by case: differences, their intervals, and a paired test.

A question about one pair that was chosen before looking. Who is better than whom among all
submissions of a track is the ranking's to say, which allows for the number of pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluator.errors import BusbenchError, Code
from evaluator.scoring.intervals import interval
from harness.ledger import LedgerVerdict, RecordedReport
from harness.ranking.counting import by_track, comparable, is_complete
from harness.ranking.metrics import METRICS, RankedMetric
from harness.ranking.orders import Floats
from harness.ranking.runs import read_table, run_folders
from harness.ranking.significance import p_values


@dataclass(frozen=True)
class Difference:
    """Two submissions by one metric, on the same cases, the fold models averaged."""

    metric: RankedMetric
    first: float  # mean over the cases, of ratio metrics from 0 to 1, of HD95 in the track's unit
    second: float
    interval: tuple[float, float] | None  # 95 %, of first minus second; None with few patients
    p: float  # two-sided
    better: int  # cases on which the first is better
    worse: int
    equal: int

    @property
    def difference(self) -> float:
        """The first's mean minus the second's."""
        return self.first - self.second


@dataclass(frozen=True)
class Comparison:
    """Two submissions of one table."""

    first: RecordedReport
    second: RecordedReport
    cases: int
    patients: int
    differences: tuple[Difference, ...]  # one a ranked metric


def compare(verdict: LedgerVerdict, runs: Sequence[Path], names: tuple[str, str]) -> Comparison:
    """Compare two submissions of a ledger by the cases of their runs.

    Args:
        names: of each, the number of its entry or the name of its method.

    Raises:
        BusbenchError: `usage` where a name is of no single complete result, or the two do not
            share a table; `cases-invalid` where the runs lack their cases or contradict a report.
    """
    first, second = (_find(verdict, name) for name in names)
    if first == second:
        message = f"{names[0]} and {names[1]} are the same result."
        raise BusbenchError(Code.USAGE, message, "Name two.")
    if comparable(first.report) != comparable(second.report):
        message = f"{names[0]} and {names[1]} do not share a table: their cases are not comparable."
        raise BusbenchError(Code.USAGE, message, "Name two results of one table of the board.")
    table = read_table((first, second), run_folders(runs))
    differences = [
        difference(metric, table.values[metric.key], table.patients) for metric in METRICS
    ]
    patients = len(set(table.patients))
    return Comparison(first, second, len(table.patients), patients, tuple(differences))


def difference(metric: RankedMetric, values: Floats, patients: Sequence[str]) -> Difference:
    """How far two submissions are apart by one metric.

    The interval is a t interval linearised over patients (`evaluator.scoring.intervals`), the test
    Wilcoxon's signed-rank test of the patients' mean differences, with the normal approximation.

    Args:
        values: of the first and of the second on each case, shape (cases, 2).
        patients: the patient of each case.
    """
    first, second = values.T
    apart = first - second
    gain = apart if metric.higher_is_better else -apart
    index = np.unique(np.asarray(patients), return_inverse=True)[1]
    means = np.bincount(index, weights=apart) / np.bincount(index)
    return Difference(
        metric=metric,
        first=float(first.mean()),
        second=float(second.mean()),
        interval=interval(apart, patients),
        p=float(min(1.0, 2 * p_values(np.column_stack([means, -means])).min())),
        better=int((gain > 0).sum()),
        worse=int((gain < 0).sum()),
        equal=int((gain == 0).sum()),
    )


def _find(verdict: LedgerVerdict, name: str) -> RecordedReport:
    counting = [entry for entries in by_track(verdict.reports) for entry in entries]
    found = [entry for entry in counting if name in (str(entry.number), entry.report.method)]
    if len(found) != 1 or not is_complete(found[0].report):
        many = f"{len(found)} results are" if found[1:] else "no complete result is"
        remedy = "Name an entry by its number; `busbench ledger entries` lists them."
        raise BusbenchError(Code.USAGE, f"On the board {many} called {name}.", remedy)
    return found[0]
