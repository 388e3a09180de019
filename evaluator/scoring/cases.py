"""One test case of one model: what was found in it, and its metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.documents.predictions import PredictedCase
from evaluator.documents.sealed import SealedCase
from evaluator.errors import BusbenchError, Code
from evaluator.metrics import ProfileVersion
from evaluator.metrics.lesions import UNCOUNTED, count_lesions, missed
from evaluator.metrics.secondary import calibration
from evaluator.predictions import REMEDY, bits_file, maps_file, read_maps, read_packed, unpack
from evaluator.scoring import awesome_bus
from evaluator.scoring.summary import CaseScore


@dataclass(frozen=True)
class Truth:
    """A test case as the organiser knows it."""

    case: SealedCase
    lesions: NDArray[np.uint8]  # (H, W): 0 where none is, else a lesion's number from 1

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The union of the lesions, (H, W)."""
        return self.lesions > 0


Truths = Mapping[str, Truth]  # by case id, in its order


@dataclass(frozen=True)
class Measure:
    """What masks are measured by: a metric profile, and whether distances are in millimetres."""

    profile: ProfileVersion
    in_mm: bool


@dataclass(frozen=True)
class Found:
    """What a model gave for one image."""

    mask: NDArray[np.bool_]  # (H, W)
    levels: NDArray[np.uint8] | None  # its probabilities, (H, W), where the track asks for them


def read_found(
    folder: Path,
    cases: Sequence[PredictedCase],
    fold: int | None,
    *,
    shape_of: Callable[[str], tuple[int, ...]],
    window: int = 0,
    with_maps: bool,
) -> Iterator[tuple[str, Found | None]]:
    """Each case of one fold's model with what was found, one at a time, in order.

    Nothing is unpacked that has another size than its image: that is None.

    Args:
        shape_of: of a case's image, (H, W).
        window: of the transformed images, from 1; 0: the plain images.
    """
    maps: Iterator[bytes | None] = repeat(None)
    if with_maps:
        maps = read_maps(folder / maps_file(fold), cases)
    masks = read_packed(folder / bits_file(fold, window), cases)
    for (case, packed), data in zip(masks, maps, strict=False):
        shape = case.height, case.width
        found = None
        if shape == shape_of(case.case_id):
            levels = None if data is None else np.frombuffer(data, np.uint8).reshape(shape)
            found = Found(unpack(packed, *shape), levels)
        yield case.case_id, found


def require_one_cut(mask: NDArray[np.bool_], levels: NDArray[np.uint8], cut: int) -> None:
    """Refuse probabilities that are not those the mask was cut from.

    Args:
        cut: the level of the threshold; a pixel at it may be on either side.

    Raises:
        BusbenchError: `predictions-invalid`.
    """
    if ((levels < cut) & mask).any() or ((levels > cut) & ~mask).any():
        raise BusbenchError(
            Code.PREDICTIONS_INVALID, "A mask is not what its probabilities are cut to.", REMEDY
        )


def score_case(
    fold: int | None,
    truth: Truth,
    found: Found | None,
    *,
    status: str,
    measure: Measure,
    is_plain: bool = True,
) -> CaseScore:
    """One case of one fold's model: its mask against the truth.

    Args:
        found: of the size of the truth, or None: the worst.
        status: why there is none.
        is_plain: whether it is no transformed image, of which less is asked.
    """
    reference = truth.mask
    lesion = int(reference.sum())
    spacing = truth.case.spacing_mm if measure.in_mm else None
    if found is None:
        values = measure.profile.worst(truth.lesions.shape, spacing, lesion=lesion > 0)
        counts, published = missed(truth.lesions), awesome_bus.WORST
        return CaseScore(fold, truth.case, lesion, status, values, counts, published, {})
    values = measure.profile.values(found.mask, reference, spacing)
    return CaseScore(
        fold=fold,
        case=truth.case,
        lesion=lesion,
        status="ok" if lesion or found.mask.any() else "true-negative",
        values=values,
        lesions=count_lesions(found.mask, truth.lesions) if is_plain else UNCOUNTED,
        awesome_bus=awesome_bus.values(found.mask, reference) if is_plain else {},
        calibration={} if found.levels is None else calibration(found.levels, reference),
    )
