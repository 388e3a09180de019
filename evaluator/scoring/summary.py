"""From every case's metrics to the scores of a submission: pure functions of the rows.

Per case first, then the mean over cases, then mean and standard deviation over the fold models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evaluator.consistency import KEPT_LESION
from evaluator.documents.scores import (
    RANKED,
    Consistency,
    Ensemble,
    GroupScores,
    MetricSummary,
    Scores,
)
from evaluator.documents.sealed import SealedCase
from evaluator.metrics import METRICS, ProfileVersion, mean, profiles, ranking_profile
from evaluator.metrics.lesions import LesionCounts
from evaluator.metrics.secondary import CALIBRATION, SECONDARY, hd95_relative
from evaluator.scoring import awesome_bus
from evaluator.scoring.groups import groups_of, patient_of
from evaluator.scoring.intervals import ANY, interval, ratio_interval

DEFAULT = ranking_profile(profiles.DEFAULT)
VALID = ("ok", "true-negative")
Tables = Mapping[str, NDArray[np.float64]]  # metric -> values (folds, cases)


@dataclass(frozen=True)
class CaseScore:
    """One model's metrics on one case, on its plain or transformed image."""

    fold: int | None
    case: SealedCase
    lesion: int  # pixels of the reference
    status: str  # ok, true-negative, or why it took the worst value
    values: dict[str, float]  # NaN where the profile leaves the case out
    lesions: LesionCounts
    awesome_bus: Mapping[str, float]  # `evaluator.scoring.awesome_bus`: those of plain images count
    calibration: Mapping[str, float] = field(default_factory=dict)
    # ^ of probabilities, where the track asks for them


def summarise(
    rows: Sequence[CaseScore],
    windows: Sequence[Sequence[CaseScore]],
    *,
    ensemble: Ensemble | None = None,
    predictions_sha256: str,
    labels_sha256: str,
    in_mm: bool,
    profile: ProfileVersion = DEFAULT,
) -> Scores:
    """Scores of all groups that have cases.

    Args:
        rows: every case of every fold, fold by fold, the cases of each in one order.
        windows: the same on each window of the transformed images, in the same order; none where
            that pass is off.
        ensemble: of the fold models, from `summarise_ensemble`.
        in_mm: whether distances are in millimetres, else in pixels.
        profile: what the rows were measured by.

    Raises:
        ValueError: where a metric is infinite, or NaN where its profile leaves nothing out, which
            would be a bug.
    """
    first = [row for row in rows if row.fold == rows[0].fold]
    groups = groups_of([row.case for row in first], {r.case.case_id: r.lesion for r in first})
    plain = _tables(rows)
    changed, kept = _over_windows(first, windows)
    everyone = [patient_of(row.case) for row in first]
    spacing = (1.0, 1.0) if in_mm else None
    scores = {}
    for name, places in groups.items():
        patients = [everyone[place] for place in places]
        compared = [place for place in places if kept[place]]
        scores[name] = GroupScores(
            cases=len(places),
            patients=len(set(patients)),
            metrics=_metrics(rows, places, patients, in_mm=in_mm, profile=profile),
            consistency=(
                _consistency(plain, changed, compared, patients=everyone, windows=len(windows))
                if compared
                else None
            ),
        )
    return Scores(
        metric_profile=profile.identity,
        units={name: metric.unit(spacing) for name, metric in METRICS.items()},
        groups=scores,
        awesome_bus_2025=awesome_bus.summarise([r.awesome_bus for r in rows], folds=_folds(rows)),
        ensemble=ensemble,
        true_negatives=sum(row.status == "true-negative" for row in rows),
        invalid=sum(row.status not in VALID for some in (rows, *windows) for row in some),
        spaced=sum(row.case.spacing_mm is not None for row in first),
        predictions_sha256=predictions_sha256,
        labels_sha256=labels_sha256,
    )


def summarise_ensemble(
    rows: Sequence[CaseScore],
    rule: Literal["mean-probability", "majority"],
    models: int,
    *,
    in_mm: bool,
    profile: ProfileVersion,
) -> Ensemble:
    """The scores of fold models together, from one row a case."""
    patients = [patient_of(row.case) for row in rows]
    places = [*range(len(rows))]
    metrics = _metrics(rows, places, patients, in_mm=in_mm, profile=profile)
    return Ensemble(rule=rule, models=models, metrics=metrics)


def _metrics(
    rows: Sequence[CaseScore],
    places: list[int],
    patients: Sequence[str],
    *,
    in_mm: bool,
    profile: ProfileVersion,
) -> dict[str, MetricSummary]:
    """All metrics and secondary numbers over the cases at `places`."""
    return {
        **_summaries(_tables(rows), places, patients, profile=profile),
        **_detection(rows, places, patients),
        **_per_case(rows, places, patients, in_mm=in_mm),
    }


def _per_case(
    rows: Sequence[CaseScore], places: list[int], patients: Sequence[str], *, in_mm: bool
) -> dict[str, MetricSummary]:
    """Relative distance over the lesion cases at `places`, and calibration over all of them."""
    relative = [
        hd95_relative(row.values["hd95"], row.lesion, row.case.spacing_mm if in_mm else None)
        for row in rows
    ]
    tables = {"hd95_relative": np.array(relative, float)}  # NaN without a lesion
    if rows[0].calibration:
        tables |= {name: np.array([row.calibration[name] for row in rows]) for name in CALIBRATION}
    found = {}
    for name, values in tables.items():
        table = values.reshape(_folds(rows), -1)[:, places]
        defined = np.flatnonzero(~np.isnan(table[0])).tolist()
        if defined:
            of = [patients[n] for n in defined]
            found[name] = _summary(table[:, defined], of, SECONDARY[name].bounds)
    return found


def _tables(rows: Sequence[CaseScore]) -> Tables:
    return {
        name: np.array([row.values[name] for row in rows]).reshape(_folds(rows), -1)
        for name in METRICS
    }


def _over_windows(
    first: Sequence[CaseScore], windows: Sequence[Sequence[CaseScore]]
) -> tuple[Tables, NDArray[np.int64]]:
    """Case by case the mean over the windows that keep enough of its lesion, and their number.

    Args:
        first: the plain cases of the first fold.
    """
    kept = np.array(
        [
            [
                after.lesion >= KEPT_LESION * before.lesion > 0
                for before, after in zip(first, rows, strict=False)  # of the first fold
            ]
            for rows in windows
        ]
    ).reshape(len(windows), len(first))
    count = kept.sum(axis=0)
    tables = [_tables(rows) for rows in windows]
    means: Tables = {
        name: sum((t[name] * k for t, k in zip(tables, kept, strict=True)), np.zeros(1))
        / np.maximum(count, 1)
        for name in RANKED
    }
    return means, count


def _folds(rows: Sequence[CaseScore]) -> int:
    return max(1, len({row.fold for row in rows}))


def _consistency(
    plain: Tables,
    transformed: Tables,
    places: list[int],
    *,
    patients: Sequence[str],
    windows: int,
) -> Consistency:
    """The gap over the cases at `places`; `patients` are those of all cases."""
    chosen = [patients[place] for place in places]
    gap = {m: (plain[m] - transformed[m])[:, places] for m in RANKED}
    return Consistency(
        cases=len(places),
        windows=windows,
        transformed={
            m: _summary(transformed[m][:, places], chosen, METRICS[m].bounds) for m in RANKED
        },
        gap={m: _summary(gap[m], chosen) for m in RANKED},
    )


def _detection(
    rows: Sequence[CaseScore], places: list[int], patients: Sequence[str]
) -> dict[str, MetricSummary]:
    """Lesions found and areas that are none, over all lesions of the cases at `places`.

    Of a group without a lesion there are the false ones alone.
    """
    lesions, found, false = (
        np.array([getattr(row.lesions, name) for row in rows], float).reshape(_folds(rows), -1)[
            :, places
        ]
        for name in ("lesions", "found", "false")
    )
    ratios = {"false_lesions": (false, np.ones_like(false), (0.0, math.inf))}
    if lesions.any():
        ratios["lesion_sensitivity"] = (found, lesions, (0.0, 1.0))
        # twice the matches over all lesions and all areas
        ratios["lesion_f1"] = (2 * found, lesions + found + false, (0.0, 1.0))
    return {name: _ratio(*ratio, patients=patients) for name, ratio in ratios.items()}


def _ratio(
    counts: NDArray[np.float64],
    sizes: NDArray[np.float64],
    bounds: tuple[float, float],
    *,
    patients: Sequence[str],
) -> MetricSummary:
    """Sums over sums, from counts (folds, cases) and what they are counted among."""
    folds = (counts.sum(axis=1) / sizes.sum(axis=1)).tolist()
    ends = ratio_interval(counts.mean(axis=0), sizes.mean(axis=0), patients, bounds=bounds)
    return MetricSummary.of(folds, ends)


def _summaries(
    tables: Tables, places: list[int], patients: Sequence[str], *, profile: ProfileVersion
) -> dict[str, MetricSummary]:
    """Each metric over those of the cases at `places` that it is of; none where it is of none."""
    found = {}
    for name, table in tables.items():
        values = table[:, places]
        empty = np.asarray(np.isnan(values).all(axis=0))
        kept = ~empty if profile.leaves_out(name) else np.ones_like(empty)
        who = [patient for patient, is_in in zip(patients, kept, strict=True) if is_in]
        if who:
            found[name] = _summary(values[:, kept], who, METRICS[name].bounds)
    return found


def _summary(
    table: NDArray[np.float64], patients: Sequence[str], bounds: tuple[float, float] = ANY
) -> MetricSummary:
    """One metric from its values (folds, cases), whose mean lies within `bounds`."""
    means = [mean(fold) for fold in table]
    return MetricSummary.of(means, interval(table.mean(axis=0), patients, bounds))
