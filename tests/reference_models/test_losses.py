"""Losses are held to other tools, or to what their papers promise."""

from __future__ import annotations

import pytest
import torch
from monai.losses import DiceLoss, FocalLoss
from torch import Tensor

from reference_models.losses import LOSSES, boundary, focal, lovasz_hinge, soft_dice


@pytest.fixture
def pair() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    masks = torch.zeros(3, 1, 16, 16)
    masks[0, 0, 4:9, 3:12] = 1
    masks[1, 0, 10:, 10:] = 1  # the third stays empty
    return torch.randn(3, 1, 16, 16), masks


def disc(row: int, column: int) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    return ((rows - row) ** 2 + (columns - column) ** 2 <= 36).float()[None, None]


def test_soft_dice_never_differs_from_monais(pair: tuple[Tensor, Tensor]) -> None:
    peer = DiceLoss(sigmoid=True, batch=True, smooth_nr=1e-7, smooth_dr=1e-7)
    assert soft_dice(*pair).item() == pytest.approx(peer(*pair).item(), abs=1e-6)


def test_focal_never_differs_from_monais(pair: tuple[Tensor, Tensor]) -> None:
    peer = FocalLoss(alpha=0.25, gamma=2.0)
    assert focal(*pair).item() == pytest.approx(peer(*pair).item(), rel=1e-5)


def test_lovasz_is_the_jaccard_loss_where_errors_are_zero_or_one() -> None:
    masks = disc(14, 14)
    found = disc(14, 18)
    logits = torch.where(found == masks, 1.0, 0.0) * (2 * masks - 1)  # hinge errors 0 and 1
    jaccard = 1 - (found * masks).sum() / (found + masks).clamp(max=1).sum()
    assert lovasz_hinge(logits, masks).item() == pytest.approx(jaccard.item(), abs=1e-6)


def test_a_boundary_further_off_never_costs_less() -> None:
    masks = disc(14, 14)
    costs = [boundary(20 * disc(14, 14 + off) - 10, masks).item() for off in (0, 3, 6)]
    assert costs[0] < 0.01 < costs[1] < costs[2] <= 1


@pytest.mark.parametrize("name", LOSSES)
def test_no_loss_fails_on_empty_masks_or_grows_as_the_logits_improve(
    name: str, pair: tuple[Tensor, Tensor]
) -> None:
    logits, masks = pair
    logits.requires_grad_()
    loss = LOSSES[name](logits, torch.cat((masks[:2], torch.zeros_like(masks[:1]))))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert gradient.isfinite().all() and gradient.any()
    right = 8 * (2 * masks[:2] - 1)
    assert LOSSES[name](right, masks[:2]) < 0.1 < LOSSES[name](-right, masks[:2])
