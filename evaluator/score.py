"""The score stage: packed masks and sealed labels in, scores out. It never sees a model.

Per case first, then the mean over cases, then mean and standard deviation over the fold models.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.bootstrap import interval
from evaluator.contract import (
    GroupScores,
    MetricSummary,
    Predictions,
    Scores,
    SealedCase,
    write,
)
from evaluator.errors import BusbenchError
from evaluator.files import sha256_file, write_atomically
from evaluator.metrics import METRICS, Profile, case_metrics, worst
from evaluator.predictions import DOCUMENT, REMEDY, open_predictions, read_masks
from evaluator.progress import Progress, quiet
from evaluator.sealed import decode_png, open_sealed

PROFILE: Profile = "native"
# A group of test cases by name: which classes it holds.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "all": ("benign", "malignant", "normal"),
    "lesion": ("benign", "malignant"),
    "normal": ("normal",),
    "benign": ("benign",),
    "malignant": ("malignant",),
}


@dataclass(frozen=True)
class Truth:
    """A test case as the organiser knows it."""

    case: SealedCase
    mask: NDArray[np.bool_]  # (H, W)


@dataclass(frozen=True)
class CaseScore:
    """One model's metrics on one case."""

    fold: int | None
    case: SealedCase
    status: str  # ok, true-negative, or why it took the worst value
    values: dict[str, float]


def score(
    predictions: Path, labels: Path, key: Path, out: Path, progress: Progress = quiet
) -> Scores:
    """Score a submission's predictions against the sealed labels.

    Writes `cases.csv` (every case of every fold: for the organiser alone) and, last, `scores.json`
    into `out`.

    Raises:
        BusbenchError: `predictions-invalid`, `bundle-invalid`, `keys-invalid`.
    """
    document = open_predictions(predictions)
    with open_sealed(labels, key) as (index, stream):
        if index.split_digest != document.split_digest:
            raise BusbenchError(
                "predictions-invalid", f"{predictions} belongs to another split.", REMEDY
            )
        truths = {
            case.case_id: Truth(case, decode_png(data, case, labels) > 0) for case, data in stream
        }
    unknown = [case.case_id for case in document.cases if case.case_id not in truths]
    if unknown:
        raise BusbenchError(
            "predictions-invalid", f"{predictions} names {unknown[0]}, not a test case.", REMEDY
        )
    in_mm = all(truth.case.spacing_mm is not None for truth in truths.values())
    rows: list[CaseScore] = []
    for number, fold in enumerate(document.folds, start=1):
        rows.extend(score_fold(document, predictions, fold, truths, in_mm))
        progress("scoring", number, len(document.folds))
    scores = summarise(rows, sha256_file(predictions / DOCUMENT), in_mm)
    write_atomically(out / "cases.csv", cases_csv(rows))
    write(scores, out / "scores.json")
    return scores


def score_fold(
    document: Predictions, folder: Path, fold: int | None, truths: dict[str, Truth], in_mm: bool
) -> Iterator[CaseScore]:
    """Every test case of one fold's model, in order of case id; a missing one is the worst."""
    found = {
        predicted.case_id: _score_case(fold, mask, truths[predicted.case_id], in_mm)
        for predicted, mask in read_masks(folder, document, fold)
    }
    for case_id in sorted(truths):
        yield found.get(case_id) or _worst(fold, truths[case_id], in_mm, "missing")


def _score_case(fold: int | None, mask: NDArray[np.bool_], truth: Truth, in_mm: bool) -> CaseScore:
    if mask.shape != truth.mask.shape:
        return _worst(fold, truth, in_mm, "wrong-size")
    spacing = truth.case.spacing_mm if in_mm else None
    values = case_metrics(mask, truth.mask, spacing=spacing, profile=PROFILE)
    status = "ok" if mask.any() or truth.mask.any() else "true-negative"
    return CaseScore(fold, truth.case, status, {name: values[name] for name in METRICS})


def _worst(fold: int | None, truth: Truth, in_mm: bool, status: str) -> CaseScore:
    spacing = truth.case.spacing_mm if in_mm else None
    values = {name: worst(name, truth.mask.shape, spacing) for name in METRICS}
    return CaseScore(fold, truth.case, status, values)


def summarise(rows: Sequence[CaseScore], predictions_sha256: str, in_mm: bool) -> Scores:
    """Scores of all groups that have cases; a pure function of the rows.

    Args:
        rows: every case of every fold.
        in_mm: whether distances are in millimetres, else in pixels.
    """
    spacing = (1.0, 1.0) if in_mm else None
    groups = {
        name: _group([row for row in rows if row.case.label in classes])
        for name, classes in GROUPS.items()
        if any(row.case.label in classes for row in rows)
    }
    return Scores(
        metric_profile=PROFILE,
        units={name: metric.unit(spacing) for name, metric in METRICS.items()},
        groups=groups,
        true_negatives=sum(row.status == "true-negative" for row in rows),
        invalid=sum(row.status not in ("ok", "true-negative") for row in rows),
        predictions_sha256=predictions_sha256,
    )


def _group(rows: Sequence[CaseScore]) -> GroupScores:
    folds = list(dict.fromkeys(row.fold for row in rows))
    cases = [row.case for row in rows if row.fold == folds[0]]
    patients = [case.patient_group or case.case_id for case in cases]
    summaries = {}
    for name in METRICS:
        table = np.array([[r.values[name] for r in rows if r.fold == fold] for fold in folds])
        summaries[name] = _summary(table, patients)
    return GroupScores(cases=len(cases), patients=len(set(patients)), metrics=summaries)


def _summary(table: NDArray[np.float64], patients: Sequence[str]) -> MetricSummary:
    """One metric from its values (folds, cases)."""
    means = table.mean(axis=1)
    low, high = interval(table.mean(axis=0), patients) or (None, None)
    return MetricSummary(
        mean=float(means.mean()),
        std=float(means.std(ddof=1)) if len(means) > 1 else None,
        ci_low=low,
        ci_high=high,
        folds=tuple(float(mean) for mean in means),
    )


def cases_csv(rows: Sequence[CaseScore]) -> bytes:
    """Every row as CSV, full precision."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case_id", "fold", "class", "patient_group", "status", *METRICS])
    for row in rows:
        fold = "all" if row.fold is None else row.fold
        values = [repr(row.values[name]) for name in METRICS]
        writer.writerow(
            [row.case.case_id, fold, row.case.label, row.case.patient_group, row.status, *values]
        )
    return text.getvalue().encode()
