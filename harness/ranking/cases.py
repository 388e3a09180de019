"""What did every submission of a track get on every case?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluator.contract import Digest


@dataclass(frozen=True)
class CaseTable:
    """Every ranked metric of a track's complete submissions, the fold models averaged."""

    entries: tuple[Digest, ...]  # of the submissions' reports, one a column
    patients: tuple[str, ...]  # the patient of each case, one a row
    values: Mapping[str, NDArray[np.float64]]  # metric -> (cases, submissions), all finite
