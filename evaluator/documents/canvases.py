"""Canvases: how large the inputs of a network of free size become, on the images of a track."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Annotated, Self

from pydantic import Field

from evaluator.documents.base import MAX_SIDE, Contract
from evaluator.documents.input_spec import InputSpec
from evaluator.documents.sealed import SealedCase

Side = Annotated[int, Field(ge=1, le=2 * MAX_SIDE)]  # of the largest image, and a multiple more
# Where nobody says how large images are: sides of small, usual and large ones, in pixels.
_SIDES = (256, 512, 1024)
NO_SPACING = (
    "Leave `spacing` out of `input`, or hand in for a track whose images all state one; test sets "
    "that a release before `busbench/submission/v2` sealed state none."
)


class Canvases(Contract):
    """Three canvases, each (height, width) in pixels, by their area."""

    smallest: tuple[Side, Side]
    usual: tuple[Side, Side]  # the one whose area is nearest to the mean area
    largest: tuple[Side, Side]

    @classmethod
    def of(cls, spec: InputSpec, cases: Sequence[SealedCase] = ()) -> Self:
        """The canvases of images; of none, those of squares of 256, 512 and 1024 pixels.

        Args:
            cases: none of which `check_images` finds fault with.
        """
        every = sorted(
            (spec.canvas(case.height, case.width, case.spacing_mm) for case in cases),
            key=lambda size: (size[0] * size[1], size),
        )
        if not every:
            square = [spec.canvas(side, side, _isotropic(spec)) for side in _SIDES]
            return cls(smallest=square[0], usual=square[1], largest=square[2])
        mean = fmean(height * width for height, width in every)
        usual = min(every, key=lambda size: abs(size[0] * size[1] - mean))
        return cls(smallest=every[0], usual=usual, largest=every[-1])


def _isotropic(spec: InputSpec) -> tuple[float, float] | None:
    return None if spec.spacing is None else (spec.spacing, spec.spacing)


def check_images(spec: InputSpec, cases: Sequence[SealedCase]) -> str | None:
    """Why images cannot be prepared as declared, in half a sentence; None where they can."""
    if spec.spacing is None:
        return None
    lacking = sum(case.spacing_mm is None for case in cases)
    if lacking:
        return (
            f"input.spacing is {spec.spacing:g} mm, and {lacking} of {len(cases)} images state no "
            "spacing to be resampled from"
        )
    for case in cases:
        height, width = spec.scaled(case.height, case.width, case.spacing_mm)
        if max(height, width) > MAX_SIDE // 2:
            return (
                f"input.spacing is {spec.spacing:g} mm, at which an image of {case.height} x "
                f"{case.width} pixels would have {height} x {width}, more than {MAX_SIDE // 2}"
            )
    return None
