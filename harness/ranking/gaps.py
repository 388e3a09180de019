"""Consistency gaps: case by case, against a reference's, and unlike the others of their track."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from evaluator.consistency import KEPT_LESION, window_prefix
from evaluator.documents.scores import MetricSummary
from evaluator.documents.sealed import MAX_WINDOWS
from evaluator.scoring.intervals import interval
from harness.ranking.document import GapExcess, Interval

PREFIXES = tuple(map(window_prefix, range(1, MAX_WINDOWS + 1)))
GAP_COLUMNS = (  # of `cases.parquet`, as many as there are windows
    "lesion_px",
    *(f"{prefix}{name}" for prefix in PREFIXES for name in ("dice", "lesion_px")),
)
DIGITS = 6  # after the point, of what is written down

FEWEST_GAPS = 3  # of fewer, the median is one of two, and nothing says which is the odd one


def unlike_gaps(gaps: Mapping[int, MetricSummary]) -> frozenset[int]:
    """The entries whose consistency gap is unlike the others'.

    Args:
        gaps: entry -> the gap of its Dice, a difference of Dice, with its 95 % interval.

    Returns:
        Those whose interval contains no median of all the gaps; none where there are fewer than
        `FEWEST_GAPS` gaps, and never one without an interval.
    """
    if len(gaps) < FEWEST_GAPS:
        return frozenset()
    median = float(np.median([gap.mean for gap in gaps.values()]))
    return frozenset(
        entry
        for entry, gap in gaps.items()
        if gap.ci_low is not None
        and gap.ci_high is not None
        and not gap.ci_low <= median <= gap.ci_high
    )


def gaps_of_cases(columns: Mapping[str, NDArray[np.float64]], count: int) -> NDArray[np.float64]:
    """What Dice loses on the windows of each case, averaged over the fold models.

    As `evaluator.scoring.summary` has it: against the mean of the windows that keep enough of the
    lesion.

    Args:
        columns: of `cases.parquet`, fold by fold with the cases in one order; none of windows where
            there is no such pass.
        count: of the cases.

    Returns:
        Shape (cases,); NaN of a case without a lesion, or without such a window.
    """
    windows = [prefix for prefix in PREFIXES if f"{prefix}dice" in columns]
    if not windows:
        return np.full(count, np.nan)
    lesion = columns["lesion_px"][:count]
    kept = np.array([columns[f"{prefix}lesion_px"][:count] for prefix in windows])
    is_kept = (kept >= KEPT_LESION * lesion) & (lesion > 0)
    dice = np.array([columns[f"{prefix}dice"].reshape(-1, count) for prefix in windows])
    number = is_kept.sum(axis=0)
    transformed = (dice * is_kept[:, None]).sum(axis=0) / np.maximum(number, 1)
    gaps = (columns["dice"].reshape(-1, count) - transformed).mean(axis=0)
    return np.where(number > 0, gaps, np.nan)


def excess(
    gaps: NDArray[np.float64], reference: NDArray[np.float64], patients: Sequence[str]
) -> GapExcess | None:
    """By how much gaps are larger than the reference's on the same cases; None without any.

    Args:
        gaps, reference: of each case, NaN where there is none, shape (cases,).
        patients: the patient of each case.
    """
    both = np.flatnonzero(~np.isnan(gaps) & ~np.isnan(reference)).tolist()
    if not both:
        return None
    differences = (gaps - reference)[both]
    ends = interval(differences, [patients[place] for place in both])
    return GapExcess(
        cases=len(both),
        mean=round(float(differences.mean()), DIGITS),
        interval=None if ends is None else Interval(*(round(end, DIGITS) for end in ends)),
    )
