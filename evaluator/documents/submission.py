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
from evaluator.files import canonical_json, sha256_bytes

Positive = Annotated[float, Field(gt=0)]
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
Mode = Literal["resized", "tiled"]
# What belongs to one mode alone and has no default, and what it is.
_NEEDED: Mapping[Mode, Mapping[str, str]] = {
    "resized": {
        "resize": "it is `stretch` where training scaled both sides to the input's size, or "
        "`letterbox` where it kept the aspect ratio and filled up with black",
    },
    "tiled": {
        "overlap": "it is the part of a tile that its neighbour shares, such as 0.5",
        "blend": "it is `gaussian` where a tile's middle counts most, as in nnU-Net, or `constant`",
    },
}
_CHOICES = {"resize": get_args(Resize), "blend": get_args(Blend)}
_OPTIONAL: Mapping[Mode, tuple[str, ...]] = {"resized": ("resample",), "tiled": ("normalise",)}
LARGEST = 1.0  # of mean and std: pixels are 0 to 1 when they apply


class InputSpec(Contract):
    """How a participant's network wants its input.

    `mean` and `std` apply after division by 255; each is one number, or one a channel. `resized`
    brings an image to the input's size. `tiled` cuts it into tiles of that size and never scales
    it. `resize`, `overlap` and `blend` have no default: an image that is prepared otherwise than in
    training is scored, and scores less. `normalise: zscore` crops an image to the box of its pixels
    above 0 and takes mean and standard deviation of that, which no network could that sees tiles.
    """

    mode: Mode = "resized"
    height: int = Field(ge=16, le=2048)
    width: int = Field(ge=16, le=2048)
    resize: Resize | None = None
    resample: Resample | None = None  # antialiased where it is null
    overlap: float | None = Field(default=None, ge=0, le=0.9)
    blend: Blend | None = None
    normalise: Normalise | None = None  # by mean and std where it is null
    channels: Literal["grey", "rgb"] = "grey"
    mean: float | tuple[float, ...] = 0.0
    std: Positive | tuple[Positive, ...] = 1.0

    @property
    def depth(self) -> int:
        """How many channels the network takes; `rgb` repeats the grey image."""
        return 3 if self.channels == "rgb" else 1

    @property
    def is_tiled(self) -> bool:
        """Whether images are cut into tiles."""
        return self.mode == "tiled"

    def tiles(self, side: int, tile: int) -> int:
        """How many overlapping tiles of `tile` pixels cover `side` pixels."""
        return 1 + max(0, math.ceil((side - tile) / (tile * (1 - (self.overlap or 0.0)))))

    def runs(self, height: int, width: int) -> int:
        """How many inputs of the network an image of `height` x `width` pixels becomes."""
        if not self.is_tiled:
            return 1
        return self.tiles(height, self.height) * self.tiles(width, self.width)

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
        for other in _NEEDED.keys() - {mode}:
            for name in (*_NEEDED[other], *_OPTIONAL[other]):
                if fields.get(name) is not None:
                    raise ValueError(f"{name} has no effect where mode is {mode}: leave it out")
        return fields

    @model_validator(mode="after")
    def _normalised_once(self) -> Self:
        for name, value, default in (("mean", self.mean, 0.0), ("std", self.std, 1.0)):
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


class Entry(Contract):
    """What every submission says of itself, whatever it consists of."""

    team: Title
    method: Title
    track: Name

    @property
    def digest(self) -> Digest:
        """What the submission is called from the gate on; it covers every file's digest too."""
        return sha256_bytes(canonical_json(self.document()))


# An image that nobody can change: of a registry by digest, or of the engine by id.
IMAGE = r"^([^@\s]+@)?sha256:[0-9a-f]{64}$"
ImageDigest = Annotated[str, StringConstraints(max_length=500, pattern=IMAGE)]


class ImageSubmission(Entry):
    """`submission.yaml` of a container image that predicts; its masks are of no fold."""

    schema_: Literal["busbench/image-submission/v1"] = Field(
        default="busbench/image-submission/v1", alias="schema"
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

    schema_: Literal["busbench/submission/v1"] = Field(
        default="busbench/submission/v1", alias="schema"
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
