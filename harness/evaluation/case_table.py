"""Table of a validation's cases: the mean over all of them, and mistakes that only show in numbers.

Masks that are empty, whole or inverted come from a declaration that differs from the network. They
score, and score little; so each is named with its number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evaluator.documents.scores import RANKED
from evaluator.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd

TABLE, MASKS, OVERLAYS = "cases.csv", "masks", "overlays.html"  # in a validation's folder
SHOWN = (*RANKED, "recall")
_EMPTY, _WHOLE, _BETTER = 0.5, 0.98, 0.1  # share of cases, share of pixels, gain in Dice


@dataclass(frozen=True)
class Cases:
    """What the cases of all folds come to, each case once.

    Args:
        mean: metric -> mean over all cases; a fold of more cases weighs more.
        hints: one sentence for each likely mistake.
    """

    mean: Mapping[str, float]
    hints: tuple[str, ...]


def read_cases(folder: Path, folds: tuple[int, ...]) -> pd.DataFrame:
    """The cases of a finished validation, one row each, with the fold that validated it."""
    import pandas as pd  # noqa: PLC0415  takes a second to import

    tables = (
        pd.read_parquet(folder / f"fold-{fold}" / "score" / "cases.parquet").assign(fold=fold)
        for fold in folds
    )
    return pd.concat(tables, ignore_index=True)


def write_cases(cases: pd.DataFrame, folder: Path) -> None:
    """Write the table as CSV: a row a case, a column a metric."""
    write_atomically(folder / TABLE, cases.to_csv(index=False).encode())


def summarise(cases: pd.DataFrame) -> Cases:
    """The mean over all cases, and what the lesion cases tell of a mistake."""
    mean = {name: float(cases[name].mean()) for name in SHOWN}
    lesions = cases[cases["lesion_px"] > 0]
    found = (hint(lesions) for hint in _HINTS) if len(lesions) else ()
    return Cases(mean, tuple(sentence for sentence in found if sentence))


def _predicted(lesions: pd.DataFrame) -> pd.Series:
    """Pixels of each mask, from recall and specificity."""
    background = _pixels(lesions) - lesions["lesion_px"]
    return lesions["lesion_px"] * lesions["recall"] + background * (1 - lesions["specificity"])


def _pixels(lesions: pd.DataFrame) -> pd.Series:
    return lesions["height"] * lesions["width"]


def _empty(lesions: pd.DataFrame) -> str:
    count = int((_predicted(lesions) < 0.5).sum())  # of a pixel
    if count <= _EMPTY * len(lesions):
        return ""
    return (
        f"{count} of {len(lesions)} lesion cases got an empty mask: compare threshold, mean, std, "
        "resize and resample with the training, and the kind of output with the export."
    )


def _whole(lesions: pd.DataFrame) -> str:
    count = int((_predicted(lesions) > _WHOLE * _pixels(lesions)).sum())
    if count <= _EMPTY * len(lesions):
        return ""
    return (
        f"In {count} of {len(lesions)} lesion cases the mask is the whole image: the output may be "
        "probabilities declared as logits, or mean and std those of another scale."
    )


def _inverted(lesions: pd.DataFrame) -> str:
    """Dice of the masks' complements: what the lesion keeps of what was left out."""
    missed = lesions["lesion_px"] * (1 - lesions["recall"])
    left_out = _pixels(lesions) - _predicted(lesions)
    inverted = float((2 * missed / (lesions["lesion_px"] + left_out)).mean())
    stated = float(lesions["dice"].mean())
    # marking everything finds each lesion, too, and tells nothing
    whole = float((2 * lesions["lesion_px"] / (lesions["lesion_px"] + _pixels(lesions))).mean())
    if inverted < max(stated, whole) + _BETTER:
        return ""
    return (
        f"Inverted, the masks of the lesion cases would have a mean Dice of {inverted:.4f} instead "
        f"of {stated:.4f}: the classes may be swapped. Two maps are background, then lesion."
    )


_HINTS: tuple[Callable[[pd.DataFrame], str], ...] = (_empty, _whole, _inverted)
