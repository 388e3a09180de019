"""Which losses are there? One row each: from logits and masks, (N, 1, H, W), to one number."""

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


LOSSES: dict[str, Loss] = {"bce_dice": bce_dice, "dice": soft_dice}
