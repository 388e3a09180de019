"""What is the mean of a metric over many cases, and what may never be in it?"""

from __future__ import annotations

import math
from collections.abc import Iterable

from evaluator.metrics.case import Profile


def mean(values: Iterable[float], profile: Profile = "native") -> float:
    """The mean over cases.

    The `seed` profile leaves out what its edge table drops, which `Metric` gives as NaN. Nothing
    is dropped from `native`: there NaN is a bug, and infinity is one everywhere.

    Raises:
        ValueError: for a value that may not be averaged, or where no value is left.
    """
    numbers = [float(value) for value in values]
    if profile == "seed":
        numbers = [number for number in numbers if not math.isnan(number)]
    if not numbers:
        raise ValueError("There is no case to average.")
    if not all(map(math.isfinite, numbers)):
        raise ValueError(f"A mean of the {profile} profile may not hold NaN or infinity.")
    return math.fsum(numbers) / len(numbers)
