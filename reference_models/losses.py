"""Losses by name, each from logits and masks, (N, 1, H, W), to one number."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Tensor, Tensor], Tensor]


def soft_dice(logits: Tensor, masks: Tensor, smooth: float = 1e-7) -> Tensor:
    """1 - 2|P.G| / (|P| + |G|) over the whole batch (Milletari et al., 3DV 2016, without squares).

    Over the batch rather than per image, so that an image without a lesion has a gradient too.
    """
    probabilities = torch.sigmoid(logits)
    overlap = (probabilities * masks).sum()
    return 1 - (2 * overlap + smooth) / (probabilities.sum() + masks.sum() + smooth)


def bce_dice(logits: Tensor, masks: Tensor) -> Tensor:
    """Half binary cross-entropy, half soft Dice."""
    entropy = F.binary_cross_entropy_with_logits(logits, masks)
    return 0.5 * entropy + 0.5 * soft_dice(logits, masks)


def focal(logits: Tensor, masks: Tensor, alpha: float = 0.25, *, gamma: float = 2.0) -> Tensor:
    """Mean of -a (1 - p)^g log p, where p is the probability of the true class.

    T. Lin, P. Goyal, R. Girshick, K. He, P. Dollar, "Focal Loss for Dense Object Detection", ICCV
    2017, arXiv:1708.02002; `alpha` weighs the foreground, 1 - `alpha` the background.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    weight = torch.where(masks > 0.5, alpha, 1 - alpha)
    return (weight * (1 - torch.exp(-entropy)) ** gamma * entropy).mean()


def lovasz_hinge(logits: Tensor, masks: Tensor) -> Tensor:
    """The Lovász extension of the Jaccard loss at the hinge errors, mean over the images.

    M. Berman, A. R. Triki, M. B. Blaschko, "The Lovász-Softmax Loss: A Tractable Surrogate for the
    Optimization of the Intersection-Over-Union Measure in Neural Networks", CVPR 2018,
    arXiv:1705.08790, equations 5, 8 and 9.
    """
    scores, truth = logits.flatten(1), masks.flatten(1)
    errors, order = (1 - scores * (2 * truth - 1)).sort(dim=1, descending=True)
    truth = truth.gather(1, order)
    missed, invented = truth.cumsum(1), (1 - truth).cumsum(1)
    lesion = missed[:, -1:]
    jaccard = 1 - (lesion - missed) / (lesion + invented)
    steps = torch.cat((jaccard[:, :1], jaccard.diff(dim=1)), dim=1)
    return (F.relu(errors) * steps).sum(dim=1).mean()


def boundary(logits: Tensor, masks: Tensor, width: int = 3, *, reach: int = 5) -> Tensor:
    """1 - F1 of the boundary pixels, mean over the images.

    A. Bokhovkin, E. Burnaev, "Boundary Loss for Remote Sensing Imagery Semantic Segmentation",
    ISNN 2019, arXiv:1905.07852: boundaries by max pooling of the background over `width` pixels;
    one matches the other within max pooling over `reach` pixels.
    """
    found, true = (_rim(x, width) for x in (torch.sigmoid(logits), masks))
    precision = _share(found, F.max_pool2d(true, reach, 1, reach // 2))
    recall = _share(true, F.max_pool2d(found, reach, 1, reach // 2))
    return (1 - 2 * precision * recall / (precision + recall + 1e-7)).mean()


def _rim(x: Tensor, width: int) -> Tensor:
    """The inner boundary of (N, 1, H, W) foreground probabilities."""
    background = 1 - x
    return F.max_pool2d(background, width, 1, width // 2) - background


def _share(part: Tensor, whole: Tensor) -> Tensor:
    """How much of `part` lies in `whole`, for each image; 1 where there is none."""
    return ((part * whole).sum(dim=(1, 2, 3)) + 1e-7) / (part.sum(dim=(1, 2, 3)) + 1e-7)


def dice_boundary(logits: Tensor, masks: Tensor) -> Tensor:
    """Half soft Dice, half boundary: far from the boundary the latter alone has no gradient."""
    return 0.5 * soft_dice(logits, masks) + 0.5 * boundary(logits, masks)


LOSSES: dict[str, Loss] = {
    "bce_dice": bce_dice,
    "dice": soft_dice,
    "bce": F.binary_cross_entropy_with_logits,
    "focal": focal,
    "lovasz": lovasz_hinge,
    "boundary": dice_boundary,
}
