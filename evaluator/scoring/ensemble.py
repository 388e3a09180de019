"""The fold models of a submission together: one mask a case, scored beside the models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from evaluator.documents.predictions import Predictions
from evaluator.documents.scores import Ensemble
from evaluator.metrics.secondary import UNKNOWN
from evaluator.predictions import LEVELS, majority
from evaluator.scoring.cases import Found, Measure, Truths, read_found, score_case
from evaluator.scoring.summary import summarise_ensemble


def score_ensemble(
    folder: Path, document: Predictions, *, truths: Truths, measure: Measure
) -> Ensemble | None:
    """All fold models together; None with a single one.

    The mean of their probabilities, cut at the submission's threshold; of masks alone, what more
    than half of the models mark.
    """
    models = len(document.folds)
    if models < 2:
        return None
    with_maps, rows = document.threshold is not None, {}
    every = (
        read_found(
            folder,
            document.cases,
            fold,
            shape_of=lambda case_id: truths[case_id].lesions.shape if case_id in truths else (),
            with_maps=with_maps,
        )
        for fold in document.folds
    )
    for several in zip(*every, strict=True):
        case_id = several[0][0]
        if case_id not in truths:  # it is left out
            continue
        whole = [found for _, found in several if found is not None]  # all, or none: one size
        joined = join(whole, document.threshold) if whole else None
        rows[case_id] = score_case(
            None, truths[case_id], joined, status="wrong-size", measure=measure
        )
    unknown = UNKNOWN if with_maps else {}
    every_case = [
        rows.get(case_id) or score_case(None, truth, None, status="missing", measure=measure)
        for case_id, truth in truths.items()
    ]
    return summarise_ensemble(
        [replace(row, calibration=row.calibration or unknown) for row in every_case],
        "mean-probability" if with_maps else "majority",
        models,
        in_mm=measure.in_mm,
        profile=measure.profile,
    )


def join(found: Sequence[Found], threshold: float | None) -> Found:
    """What several models found in one image, as one.

    Args:
        threshold: on the mean of their probabilities, strictly above; None: what more than half
            of the masks mark.
    """
    if threshold is None:
        return Found(majority([one.mask for one in found]), None)
    count = len(found)
    total = np.stack([one.levels for one in found if one.levels is not None]).sum(
        axis=0, dtype=np.int64
    )
    mean = (2 * total + count) // (2 * count)
    return Found(np.asarray(total > threshold * LEVELS * count), mean.astype(np.uint8))
