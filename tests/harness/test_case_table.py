"""The table of a validation's cases: its mean, and mistakes that no single number names."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from evaluator.metrics import METRICS
from harness.evaluation.case_table import SHOWN, summarise

Mask = NDArray[np.bool_]
RNG = np.random.default_rng(0)


def _dice(mask: Mask, truth: Mask) -> float:
    return 2 * float((mask & truth).sum()) / float(mask.sum() + truth.sum())


def _scene() -> tuple[Mask, Mask]:
    """A lesion, and a mask that lies a little beside it."""
    height, width = RNG.integers(40, 80, 2)
    down, right = np.mgrid[:height, :width]
    y, x, r = RNG.integers(15, 25), RNG.integers(15, 25), RNG.integers(6, 12)
    truth = (down - y) ** 2 + (right - x) ** 2 < r**2
    return np.roll(truth, RNG.integers(1, 4), 1), truth


def _table(change: Callable[[Mask], Mask], cases: int = 12) -> tuple[pd.DataFrame, list[Mask]]:
    rows, masks = [], []
    for number in range(cases):
        mask, truth = _scene()
        mask = change(mask)
        masks += [mask, truth]
        rows.append(
            {"case_id": f"c{number}", "fold": number % 3, "lesion_px": int(truth.sum())}
            | dict(zip(("height", "width"), truth.shape, strict=True))
            | {name: METRICS[name](mask, truth) for name in (*SHOWN, "specificity")}
        )
    return pd.DataFrame(rows), masks


MISTAKES: dict[str, tuple[Callable[[Mask], Mask], str]] = {
    "classes swapped": (np.logical_not, "classes may be swapped"),
    "all empty": (np.zeros_like, "12 of 12 lesion cases got an empty mask"),
    "all lesion": (np.ones_like, "In 12 of 12 lesion cases the mask is the whole image"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_no_mistake_of_the_declaration_goes_unnamed(mistake: str) -> None:
    change, says = MISTAKES[mistake]
    (hint, *_) = summarise(_table(change)[0]).hints
    assert says in hint


@pytest.mark.parametrize("flaw", ["none", "shifted", "a third empty", "twice as large"])
def test_no_honest_network_is_suspected(flaw: str) -> None:
    count = iter(range(1000))
    change: dict[str, Callable[[Mask], Mask]] = {
        "none": lambda mask: mask,
        "shifted": lambda mask: np.roll(mask, 20, 0),
        "a third empty": lambda mask: mask & (next(count) % 3 > 0),
        "twice as large": lambda mask: mask | np.roll(mask, 8, 0) | np.roll(mask, 8, 1),
    }
    assert summarise(_table(change[flaw])[0]).hints == ()


def test_no_number_of_the_hint_differs_from_brute_force() -> None:
    table, masks = _table(np.logical_not)
    pairs = list(zip(masks[::2], masks[1::2], strict=True))
    inverted = np.mean([_dice(~mask, truth) for mask, truth in pairs])
    stated = np.mean([_dice(mask, truth) for mask, truth in pairs])
    (hint,) = summarise(table).hints
    assert f"{inverted:.4f} instead of {stated:.4f}" in hint


def test_no_case_of_a_small_fold_weighs_more_than_another() -> None:
    table, _ = _table(lambda mask: mask)
    table["fold"] = [0] * 11 + [1]
    assert summarise(table).mean["dice"] == pytest.approx(table["dice"].mean())
    by_fold = table.groupby("fold")["dice"].mean().mean()
    assert abs(by_fold - table["dice"].mean()) > 1e-4


def test_no_set_of_normals_alone_is_suspected() -> None:
    table, _ = _table(np.zeros_like)
    table["lesion_px"] = 0
    assert summarise(table).hints == ()
