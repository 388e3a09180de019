"""Scores of a model on its validation cases, and the choice of the best.

At the network's size, where Dice and IoU are 1 and HD95 is 0 for two empty masks. These numbers
choose a model; only the evaluator's are results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reference_models.errors import MachineError

# What the mean rank is over, and which way is up.
RANKED = {"val_loss": -1, "hd95": -1, "iou": 1, "dice": 1}


def dice_scores(found: Tensor, masks: Tensor) -> Tensor:
    """2|P.G| / (|P| + |G|) of each image (N,), from (N, 1, H, W) bool and float 0/1."""
    overlap = (found * masks).sum(dim=(1, 2, 3))
    areas = (found + masks).sum(dim=(1, 2, 3))
    return torch.where(areas > 0, 2 * overlap / areas.clamp(min=1), 1.0)


def iou_of_dice(dice: Tensor) -> Tensor:
    """|P.G| / |P or G|, which follows from Dice."""
    return dice / (2 - dice)


def hd95_scores(found: Tensor, masks: Tensor) -> Tensor:
    """HD95 of each image as the Awesome-BUS benchmark defines it, in pixels (N,).

    The 95th percentile (linear) of all distances from either boundary to the other, pooled. The
    boundary is a mask without its 3 x 3 erosion, outside counted as foreground; all of the mask
    where that is empty. The diagonal where only P is empty; nan where only P is not.
    """
    pairs = zip(found[:, 0].cpu().numpy() > 0, masks[:, 0].cpu().numpy() > 0, strict=True)
    return torch.tensor([_hd95(prediction, truth) for prediction, truth in pairs])


def _hd95(prediction: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    if not truth.any():
        return float("nan") if prediction.any() else 0.0
    if not prediction.any():
        return float(np.hypot(*truth.shape))
    try:
        from scipy import ndimage  # noqa: PLC0415  only this profile needs it
    except ImportError as error:
        raise MachineError(
            "keep: rank needs SciPy.", "Install scipy, or choose keep: best."
        ) from error
    first, second = (_boundary(mask, ndimage) for mask in (prediction, truth))
    to_second = ndimage.distance_transform_edt(~second)[first]
    to_first = ndimage.distance_transform_edt(~first)[second]
    return float(np.percentile(np.concatenate((to_second, to_first)), 95))


def _boundary(mask: NDArray[np.bool_], ndimage: Any) -> NDArray[np.bool_]:
    inner = ndimage.binary_erosion(mask, np.ones((3, 3)), border_value=1)
    rim: NDArray[np.bool_] = mask & ~inner
    return rim if rim.any() else mask


def best_by_rank(history: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the last validation has a smaller mean dense rank than every one before.

    All validations are ranked by each of validation loss, HD95, IoU and Dice; equals share a rank
    and the next rank is one more.
    """
    ranks = np.zeros(len(history))
    for name, direction in RANKED.items():
        values = np.array([row[name] for row in history]) * -direction
        ranks += np.unique(values, return_inverse=True)[1]
    return len(history) == 1 or bool(ranks[-1] < ranks[:-1].min())
