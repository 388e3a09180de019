"""`input` of `submission.yaml`: how each image is prepared for the network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from evaluator.documents.base import Contract

Positive = Annotated[float, Field(gt=0)]
Spacing = tuple[float, float] | None  # (row, column) in millimetres a pixel, where it is known
Resize = Literal["letterbox", "stretch"]
Resample = Literal["antialiased", "plain"]
Blend = Literal["gaussian", "constant"]
Normalise = Literal["zscore"]
Mode = Literal["resized", "tiled", "native"]
Size = tuple[int, int]  # height and width, in pixels
_SIDES = dict.fromkeys(("height", "width"), "it is a side of the network's input, in pixels")
# What a mode has no default for, and what it is.
_NEEDED: Mapping[Mode, Mapping[str, str]] = {
    "resized": {
        "resize": "it is `stretch` where training scaled both sides to the input's size, or "
        "`letterbox` where it kept the aspect ratio and filled up with black",
        **_SIDES,
    },
    "tiled": {
        "overlap": "it is the part of a tile that its neighbour shares, such as 0.5",
        "blend": "it is `gaussian` where a tile's middle counts most, as in nnU-Net, or `constant`",
        **_SIDES,
    },
    "native": {
        "multiple": "it is what both sides of an input are a multiple of, such as 32 where the "
        "network halves its maps five times",
    },
}
_CHOICES = {"resize": get_args(Resize), "blend": get_args(Blend)}
_OPTIONAL: Mapping[Mode, tuple[str, ...]] = {
    "resized": ("resample",),
    "tiled": ("resample", "spacing", "normalise"),
    "native": ("resample", "spacing"),
}
LARGEST = 1.0  # of mean and std: pixels are 0 to 1 when they apply


class InputSpec(Contract):
    """How a participant's network wants its input.

    `mean` and `std` apply after division by 255; each is one number, or one a channel. `resized`
    brings an image to the input's size. `tiled` cuts it into tiles of that size. `native` gives it
    whole, black around it up to a `multiple`. The last two scale an image only to a `spacing`.
    `resize`, `overlap`, `blend` and `multiple` have no default: an image that is prepared otherwise
    than in training is scored, and scores less. `normalise: zscore` crops an image to
    the box of its pixels above 0, and takes mean and standard deviation of that instead.
    """

    mode: Mode = Field(
        default="resized",
        description="Whether an image is scaled to `height` × `width`, cut into tiles of that "
        "size, or given whole.",
    )
    height: int | None = Field(
        default=None, ge=16, le=2048, description="Of the input, in pixels. Left out where native."
    )
    width: int | None = Field(
        default=None, ge=16, le=2048, description="Of the input, in pixels. Left out where native."
    )
    resize: Resize | None = Field(
        default=None,
        description="Needed where resized: `letterbox` keeps the aspect ratio and fills up with "
        "black, `stretch` scales each side by itself.",
    )
    resample: Resample | None = Field(
        default=None,
        description="How an image shrinks: `antialiased` as Pillow does it, `plain` as OpenCV's "
        "INTER_LINEAR. Null: antialiased.",
    )
    overlap: float | None = Field(
        default=None,
        ge=0,
        le=0.9,
        description="Needed where tiled: the part of a tile that its neighbour shares.",
    )
    blend: Blend | None = Field(
        default=None,
        description="Needed where tiled: `gaussian` counts a tile's middle most, `constant` all of "
        "it the same.",
    )
    multiple: int | None = Field(
        default=None,
        ge=1,
        le=512,
        description="Needed where native: what both sides of an input are a multiple of.",
    )
    spacing: float | None = Field(
        default=None,
        ge=0.01,
        le=10,
        description="Of tiled and native: millimetres a pixel that images are first brought to. "
        "Null: pixels as they are.",
    )
    normalise: Normalise | None = Field(
        default=None,
        description="Of tiled: crops and normalises each image as nnU-Net does. Null: by `mean` "
        "and `std`.",
    )
    channels: Literal["grey", "rgb"] = Field(
        default="grey", description="One channel, or the grey image three times."
    )
    mean: float | tuple[float, ...] = Field(
        default=0.0,
        description="A pixel becomes (value / 255 − mean) / std; one number, or one a channel.",
    )
    std: Positive | tuple[Positive, ...] = Field(default=1.0, description="See `mean`.")

    @property
    def depth(self) -> int:
        """How many channels the network takes; `rgb` repeats the grey image."""
        return 3 if self.channels == "rgb" else 1

    @property
    def size(self) -> Size:
        """The network's height and width; raises `ValueError` where native, which has none."""
        if self.height is None or self.width is None:
            raise ValueError("a native input has the size of its image")
        return self.height, self.width

    @property
    def is_tiled(self) -> bool:
        """Whether images are cut into tiles."""
        return self.mode == "tiled"

    @property
    def is_native(self) -> bool:
        """Whether the network takes images of any size."""
        return self.mode == "native"

    def scaled(self, height: int, width: int, spacing: Spacing = None) -> Size:
        """The size of an image of `height` x `width` pixels at the declared spacing.

        Sides are rounded as Python rounds (halves to even), at least 1.

        Args:
            spacing: of the image.

        Raises:
            ValueError: where one is declared and the image has none.
        """
        if self.spacing is None:
            return height, width
        if spacing is None:
            raise ValueError("the image has no spacing")
        down, across = (
            max(1, round(side * each / self.spacing))
            for side, each in zip((height, width), spacing, strict=True)
        )
        return down, across

    def canvas(self, height: int, width: int, spacing: Spacing = None) -> Size:
        """The size of the canvas that an image of `height` x `width` pixels lies on.

        The network's own; where it is tiled, the scaled image's, or a tile's if that is larger;
        where it is native, the scaled image's, each side up to the next `multiple`.

        Raises:
            ValueError: as `scaled`.
        """
        if self.mode == "resized":
            return self.size
        down, across = self.scaled(height, width, spacing)
        if self.multiple is None:
            return max(down, self.size[0]), max(across, self.size[1])
        return -(-down // self.multiple) * self.multiple, -(
            -across // self.multiple
        ) * self.multiple

    def tiles(self, side: int, tile: int) -> int:
        """How many overlapping tiles of `tile` pixels cover `side` pixels."""
        return 1 + max(0, math.ceil((side - tile) / (tile * (1 - (self.overlap or 0.0)))))

    def runs(self, height: int, width: int, spacing: Spacing = None) -> int:
        """How many inputs of the network an image becomes; see `canvas`."""
        if not self.is_tiled:
            return 1
        down, across = self.canvas(height, width, spacing)
        return self.tiles(down, self.size[0]) * self.tiles(across, self.size[1])

    @field_validator("mean", "std")
    @classmethod
    def _of_pixels_from_0_to_1(cls, value: float | tuple[float, ...]) -> float | tuple[float, ...]:
        numbers = value if isinstance(value, tuple) else (value,)
        for number in numbers:
            if number > LARGEST:
                raise ValueError(
                    f"{number:g} is on the scale of 0 to 255, and this applies after the division "
                    f"by 255: divide it by 255, which gives {number / 255:.4g}"
                )
            if number < 0:
                raise ValueError(f"{number:g} is below 0, and no pixel is")
        return value

    @model_validator(mode="before")
    @classmethod
    def _says_how_it_is_prepared(cls, fields: Any) -> Any:
        if not isinstance(fields, dict) or fields.get("mode", "resized") not in get_args(Mode):
            return fields  # refused by its type
        mode: Mode = fields.get("mode", "resized")
        for name, wanted in _NEEDED[mode].items():
            value = fields.get(name)
            if value is None or value not in _CHOICES.get(name, (value,)):
                found = "is missing" if value is None else "is neither"
                raise ValueError(f"{name} {found}: {wanted}")
        taken = {*_NEEDED[mode], *_OPTIONAL[mode]}
        for name in (name for other in _NEEDED for name in (*_NEEDED[other], *_OPTIONAL[other])):
            if name not in taken and fields.get(name) is not None:
                raise ValueError(f"{name} has no effect where mode is {mode}: leave it out")
        if mode != "resized" and fields.get("resample") and fields.get("spacing") is None:
            raise ValueError(f"resample has no effect where mode is {mode} without a spacing")
        return fields

    @model_validator(mode="after")
    def _normalised_once(self) -> Self:
        idle = ("mean", self.mean, 0.0), ("std", self.std, 1.0), ("spacing", self.spacing, None)
        for name, value, default in idle:
            if self.normalise and value != default:
                raise ValueError(f"{name} has no effect where normalise is zscore: leave it out")
        return self

    @model_validator(mode="after")
    def _one_a_channel(self) -> Self:
        for name, value in (("mean", self.mean), ("std", self.std)):
            if isinstance(value, tuple) and len(value) != self.depth:
                raise ValueError(
                    f"{name}: give one number, or {self.depth} for {self.channels} images"
                )
        return self
