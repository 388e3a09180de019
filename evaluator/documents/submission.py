"""`submission.yaml`: what a participant hands in, and what it says of the network."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    BeforeValidator,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from evaluator.documents.base import MAX_FOLDS, Contract, Digest, FileName, Fold, Name, Title
from evaluator.documents.notes import MethodNotes, from_version_1
from evaluator.files import canonical_json, sha256_bytes

Positive = Annotated[float, Field(gt=0)]
Spacing = tuple[float, float] | None  # (row, column) in millimetres a pixel, where it is known
MEGABYTE = 1_000_000
MAX_MODEL_BYTES = 2_000 * MEGABYTE  # of one ONNX file: protobuf ends at 2 GiB
MAX_PARAMETERS = 8 * MAX_MODEL_BYTES  # none is smaller than a bit
OLDEST_OPSET, NEWEST_OPSET = 11, 26  # the newest that ONNX Runtime runs; onnx already writes 28


class ModelLimits(Contract):
    """How large one ONNX file of a submission may be: `limits.model` of challenge.yaml.

    The defaults take every network that is published for this task, at its usual size.
    """

    megabytes: int = Field(default=1_900, ge=1, le=MAX_MODEL_BYTES // MEGABYTE)  # of 10**6 bytes
    nodes: int = Field(default=20_000, ge=1, le=100_000)  # after function calls are expanded
    parameters: int = Field(default=500_000_000, ge=1, le=MAX_PARAMETERS)
    # ^ values that are stored in the file, whatever they are for
    gmacs: float = Field(default=2_000, gt=0, le=1_000_000)  # at batch 1 and the declared size
    opset: int = Field(default=NEWEST_OPSET, ge=17, le=NEWEST_OPSET)  # the newest

    @property
    def bytes(self) -> int:
        """The largest file."""
        return self.megabytes * MEGABYTE


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

    mode: Mode = "resized"
    height: int | None = Field(default=None, ge=16, le=2048)  # null where native
    width: int | None = Field(default=None, ge=16, le=2048)
    resize: Resize | None = None
    resample: Resample | None = None  # antialiased where it is null
    overlap: float | None = Field(default=None, ge=0, le=0.9)
    blend: Blend | None = None
    multiple: int | None = Field(default=None, ge=1, le=512)
    spacing: float | None = Field(default=None, ge=0.01, le=10)  # millimetres a pixel, both ways
    normalise: Normalise | None = None  # by mean and std where it is null
    channels: Literal["grey", "rgb"] = "grey"
    mean: float | tuple[float, ...] = 0.0
    std: Positive | tuple[Positive, ...] = 1.0

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


OutputKind = Literal["logits", "probabilities", "softmax", "mask"]


class OutputSpec(Contract):
    """What a participant's network gives: the lesion is where its probability is above `threshold`.

    `logits` and `probabilities` are one map an image. `softmax` is two maps of logits, background
    and lesion; the softmax itself is taken here. `mask` is one map of zeros and ones, cut at one
    half like any other once it is resampled.
    """

    kind: OutputKind = "logits"
    # on probabilities, strictly above
    threshold: float = Field(
        default=0.5, json_schema_extra={"exclusiveMinimum": 0, "exclusiveMaximum": 1}
    )

    @property
    def maps(self) -> int:
        """How many maps the network gives an image."""
        return 2 if self.kind == "softmax" else 1

    @field_validator("threshold")
    @classmethod
    def _of_a_probability(cls, value: float) -> float:
        if not 0 < value < 1:
            raise ValueError(
                f"{value:g} cuts no probability: give a number above 0 and below 1; a cut of "
                "logits at 0 is 0.5 here, and so is one of grey levels at 127"
            )
        return value

    @model_validator(mode="after")
    def _a_mask_is_cut_already(self) -> Self:
        if self.kind == "mask" and self.threshold != 0.5:
            raise ValueError("threshold: a mask has been cut already; leave it out")
        return self


def _lower(text: object) -> object:
    return text.lower() if isinstance(text, str) else text


class ModelFile(Contract):
    """One ONNX file: the model of one fold, or of all folds where `fold` is null."""

    fold: Fold | None = None
    file: FileName
    sha256: Annotated[Digest, BeforeValidator(_lower)]  # PowerShell writes it in upper case


NEW_INPUT = ("multiple", "spacing", "normalise")  # fields of `input` that version 1 lacks


class Entry(MethodNotes):
    """What every submission says of itself, whatever it consists of."""

    team: Title
    method: Title
    track: Name

    @model_validator(mode="before")
    @classmethod
    def _version_1(cls, fields: Any) -> Any:
        schema: str = cls.model_fields["schema_"].default
        return from_version_1(fields, schema, new_fields(fields))

    @property
    def digest(self) -> Digest:
        """What the submission is called from the gate on; it covers every file's digest too."""
        return sha256_bytes(canonical_json(self.document()))


def new_fields(fields: Any) -> list[str]:
    """The fields of a submission's document that its version 1 lacks."""
    if not isinstance(fields, dict):
        return []
    given = fields.get("input")
    inputs = given if isinstance(given, dict) else {}
    notes = [name for name in MethodNotes.model_fields if name in fields]
    return notes + [f"input.{name}" for name in NEW_INPUT if inputs.get(name) is not None]


# An image that nobody can change: of a registry by digest, or of the engine by id.
IMAGE = r"^([^@\s]+@)?sha256:[0-9a-f]{64}$"
ImageDigest = Annotated[str, StringConstraints(max_length=500, pattern=IMAGE)]


class ImageSubmission(Entry):
    """`submission.yaml` of a container image that predicts; its masks are of no fold."""

    schema_: Literal["busbench/image-submission/v2"] = Field(
        default="busbench/image-submission/v2", alias="schema"
    )
    image: ImageDigest

    @property
    def models(self) -> tuple[ModelFile, ...]:
        """None: nothing of it can be counted."""
        return ()

    @property
    def folds(self) -> tuple[int | None, ...]:
        """The folds of its masks: one set, of all of them."""
        return (None,)


class Submission(Entry):
    """`submission.yaml`: what a participant hands in, beside the ONNX files it names."""

    schema_: Literal["busbench/submission/v2"] = Field(
        default="busbench/submission/v2", alias="schema"
    )
    input: InputSpec
    output: OutputSpec
    models: tuple[ModelFile, ...] = Field(min_length=1, max_length=MAX_FOLDS)
    opset: int = Field(ge=OLDEST_OPSET, le=NEWEST_OPSET)
    # claimed; the report counts for itself
    parameters: int | None = Field(default=None, ge=0, le=MAX_PARAMETERS)

    @property
    def folds(self) -> tuple[int | None, ...]:
        """The folds of its masks, model by model."""
        return tuple(model.fold for model in self.models)

    @model_validator(mode="after")
    def _folds_once(self) -> Self:
        folds = [model.fold for model in self.models]
        if len(set(folds)) != len(folds) or (None in folds and len(folds) > 1):
            raise ValueError("models: name each fold once, or one model with fold null for all")
        if len({model.file for model in self.models}) != len(folds):
            raise ValueError("models: each file may be named once")
        return self


AnySubmission = Submission | ImageSubmission
