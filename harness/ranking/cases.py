"""Table of every ranked metric of every submission of a track on every case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evaluator.documents.base import Digest
from harness.ledger.report import Report
from harness.ranking.gaps import GAP_COLUMNS, gaps_of_cases
from harness.ranking.metrics import METRICS

if TYPE_CHECKING:
    import pandas as pd

KEYS = [metric.key for metric in METRICS]
COLUMNS = ("case_id", "fold", "patient_group", *KEYS)
GAPS = ("dice", *GAP_COLUMNS)
TOLERANCE = 1e-9  # relative and absolute: the order of a sum may differ, nothing else


@dataclass(frozen=True)
class CaseTable:
    """Every ranked metric of a track's complete submissions, the fold models averaged."""

    entries: tuple[Digest, ...]  # of the submissions' reports, one a column
    patients: tuple[str, ...]  # the patient of each case, one a row
    values: Mapping[str, NDArray[np.float64]]  # metric -> (cases, submissions), all finite
    gaps: Mapping[Digest, NDArray[np.float64]] = field(default_factory=dict)
    # ^ entry -> the consistency gap of Dice, (cases,), NaN of a case that has none

    def select(self, places: Sequence[int]) -> CaseTable:
        """The submissions at some places, in that order."""
        chosen = {key: table[:, places] for key, table in self.values.items()}
        return CaseTable(tuple(self.entries[n] for n in places), self.patients, chosen)


def average_folds(rows: pd.DataFrame, report: Report) -> pd.DataFrame:
    """One row a case in order of their ids, its metrics averaged over the fold models.

    Args:
        rows: `COLUMNS`, one row for each case of each fold, as the score stage wrote them.
        report: what the same run signed, with which the rows must agree.

    Raises:
        ValueError: says in which way the rows are not the report's.
    """
    import pandas as pd  # noqa: PLC0415  takes a second to import

    cases, case_ids = pd.factorize(rows["case_id"], sort=True)
    folds, _ = pd.factorize(rows["fold"], use_na_sentinel=False)  # null: one model for all folds
    count = len(case_ids)
    place = folds * count + cases
    if not count or sorted(place) != [*range(count * (1 + max(folds)))]:
        raise ValueError("it does not contain every case of every fold once")
    rows = rows.iloc[np.argsort(place)]
    values = rows[KEYS].to_numpy(np.float64).reshape(-1, count, len(KEYS))  # folds, cases, metrics
    if not np.isfinite(values).all():
        raise ValueError("it contains a metric that is no number")
    for metric, found in zip(METRICS, values.mean(axis=1).T, strict=True):
        signed = report.scores.groups["all"].metrics[metric.key].folds
        if len(found) != len(signed) or not np.allclose(found, signed, TOLERANCE, TOLERANCE):
            raise ValueError(f"its {metric.label} is not the one that the report signs")
    patients = rows["patient_group"].iloc[:count].to_numpy(object)
    means = pd.DataFrame(values.mean(axis=0), index=case_ids, columns=KEYS)
    columns = {name: rows[name].to_numpy(np.float64) for name in GAPS if name in rows}
    gaps = gaps_of_cases(columns, count)
    consistency = report.scores.groups["all"].consistency
    if consistency is not None and not np.isclose(
        np.nanmean(gaps), consistency.gap["dice"].mean, TOLERANCE, TOLERANCE
    ):
        raise ValueError("its consistency gap is not the one that the report signs")
    return means.assign(patient=[*map(_patient, patients, case_ids)], gap=gaps)


def _patient(group: object, case_id: str) -> str:
    """As `evaluator.scoring.groups.patient_of`: without one, each case is a patient of its own."""
    return group if isinstance(group, str) and group else case_id


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
        {entry: f["gap"].to_numpy() for entry, f in cases.items() if f["gap"].notna().any()},
    )
