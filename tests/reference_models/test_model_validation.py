"""The numbers that choose a model agree with the evaluator's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evaluator.metrics import PROFILES, dice, hd95, iou
from reference_models.validation import best_by_rank, dice_scores, hd95_scores, iou_of_dice


def masks(seed: int) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    found = np.zeros((6, 1, 24, 32), dtype=bool)
    for image in found[:5, 0]:  # the last stays empty
        top, left = rng.integers(0, 16, 2)
        image[top : top + rng.integers(1, 9), left : left + rng.integers(1, 16)] = True
    return torch.from_numpy(found)


def test_no_score_differs_from_the_evaluators() -> None:
    found, truth = masks(1), masks(2)
    pairs = [(p[0].numpy(), g[0].numpy()) for p, g in zip(found, truth, strict=True)]
    scores = dice_scores(found, truth.float())
    for ours, theirs in ((scores, dice), (iou_of_dice(scores), iou)):
        assert ours.tolist() == pytest.approx([theirs(*pair) for pair in pairs], abs=1e-6)
    expected = [hd95(*pair, profile=PROFILES[1]) for pair in pairs]
    assert hd95_scores(found, truth).tolist() == pytest.approx(expected, abs=1e-5)


def test_one_empty_mask_costs_the_diagonal_or_is_dropped() -> None:
    some, none = masks(1)[:1], torch.zeros(1, 1, 24, 32, dtype=torch.bool)
    assert hd95_scores(none, some).item() == pytest.approx(40.0)
    assert hd95_scores(some, none).isnan().all()
    assert hd95_scores(none, none).item() == 0


def test_a_tie_of_ranks_never_replaces_the_earlier_model() -> None:
    first = {"val_loss": 0.5, "hd95": 20.0, "iou": 0.6, "dice": 0.7}
    assert best_by_rank([first])
    assert not best_by_rank([first, dict(first)])
    assert not best_by_rank([first, {**first, "val_loss": 0.4, "dice": 0.6}])
    assert best_by_rank([first, {**first, "hd95": 19.0}])
