"""Masks as the Awesome-BUS benchmark scores them: metric profile `awesome-bus-2025`, on its grid.

Its tables are of masks on a letterboxed grid of 224 x 224 pixels; those of the challenge, on each
image's own, are brought there as its code brings its references there. Its own predictions are cut
on that grid, ours on the image's: that difference remains.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from evaluator.documents.scores import RANKED, AwesomeBusScores, MetricSummary
from evaluator.letterbox import letterbox
from evaluator.metrics import Profile, case_metrics, mean, profile_version, worst

PROFILE: Profile = "awesome-bus-2025"
IDENTITY = profile_version(PROFILE).identity
GRID = (224, 224)
# Of an output that is missing or invalid.
WORST: Mapping[str, float] = {name: worst(name, GRID) for name in RANKED}


def values(prediction: NDArray[np.bool_], reference: NDArray[np.bool_]) -> dict[str, float]:
    """Dice, IoU and HD95 of one case, from masks (H, W); NaN for an HD95 that is dropped."""
    return case_metrics(on_grid(prediction), on_grid(reference), profile=PROFILE)


def on_grid(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A mask (H, W) on the grid, letterboxed, by the nearest rule of OpenCV's `resize`."""
    height, width = mask.shape
    spot = letterbox(height, width, GRID)
    canvas = np.zeros(GRID, np.bool_)
    place = np.s_[spot.top : spot.top + spot.height, spot.left : spot.left + spot.width]
    rows = mask.take(nearest(height, spot.height), axis=0)
    canvas[place] = rows.take(nearest(width, spot.width), axis=1)
    return canvas


def nearest(old: int, new: int) -> NDArray[np.intp]:
    """Which of `old` pixels each of `new` ones is in OpenCV's `resize`, shape (new,).

    As there by the reciprocal of a quotient, which `i * old // new` differs from in some sizes.
    """
    steps = np.arange(new) * (1 / (new / old))
    return np.minimum(steps.astype(np.intp), old - 1)


def summarise(cases: Sequence[Mapping[str, float]], *, folds: int) -> AwesomeBusScores:
    """The scores from `values` of every case of every fold, fold by fold."""
    summaries = {}
    for name in RANKED:
        table = np.array([case[name] for case in cases]).reshape(folds, -1)
        if not np.isnan(table).all(axis=1).any():
            summaries[name] = MetricSummary.of([mean(fold, PROFILE) for fold in table])
    return AwesomeBusScores(
        metric_profile=IDENTITY,
        metrics=summaries,
        dropped=sum(math.isnan(case["hd95"]) for case in cases),
    )
