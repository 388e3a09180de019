"""Consistency gaps that are unlike the others of their track."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from evaluator.documents.scores import MetricSummary

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
