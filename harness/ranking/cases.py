"""What did every submission of a track get on every case?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evaluator.contract import Digest, Report
from harness.ranking.metrics import METRICS

COLUMNS = ("case_id", "fold", "patient_group", *(metric.key for metric in METRICS))
TOLERANCE = 1e-9  # relative and absolute: the order of a sum may differ, nothing else


@dataclass(frozen=True)
class CaseTable:
    """Every ranked metric of a track's complete submissions, the fold models averaged."""

    entries: tuple[Digest, ...]  # of the submissions' reports, one a column
    patients: tuple[str, ...]  # the patient of each case, one a row
    values: Mapping[str, NDArray[np.float64]]  # metric -> (cases, submissions), all finite


def average_folds(rows: pd.DataFrame, report: Report) -> pd.DataFrame:
    """One row a case in order of their ids, its metrics averaged over the fold models.

    Args:
        rows: `COLUMNS`, one row for each case of each fold, as the score stage wrote them.
        report: what the same run signed, with which the rows must agree.

    Raises:
        ValueError: says in which way the rows are not the report's.
    """
    folds = max(1, rows["fold"].nunique())
    twice = rows.duplicated(["case_id", "fold"]).any()
    if rows.empty or twice or (rows.groupby("case_id").size() != folds).any():
        raise ValueError("it does not hold every case of every fold once")
    if not np.isfinite(rows[[metric.key for metric in METRICS]].to_numpy(np.float64)).all():
        raise ValueError("it holds a metric that is no number")
    for metric in METRICS:
        told = report.scores.groups["all"].metrics[metric.key].folds
        found = rows.groupby("fold", dropna=False, sort=False)[metric.key].mean()
        if len(found) != len(told) or not np.allclose(found, told, TOLERANCE, TOLERANCE):
            raise ValueError(f"its {metric.label} is not the one that the report signs")
    cases = rows.groupby("case_id", sort=True)
    means = cases[[metric.key for metric in METRICS]].mean()
    patients = cases["patient_group"].first()  # the patient of a case, where one is known
    return means.assign(patient=patients.where(patients.notna(), patients.index.to_series()))


def join(cases: Mapping[Digest, pd.DataFrame]) -> CaseTable:
    """Put the submissions of one track side by side.

    Args:
        cases: the entry of each submission's report -> what `average_folds` says of it.

    Raises:
        ValueError: where they were not scored on the same cases of the same patients.
    """
    frames = list(cases.values())
    patients = frames[0]["patient"]
    if any(not frame["patient"].equals(patients) for frame in frames):
        raise ValueError("two submissions were not scored on the same cases")
    return CaseTable(
        tuple(cases),
        tuple(patients),
        {m.key: np.column_stack([frame[m.key].to_numpy() for frame in frames]) for m in METRICS},
    )
