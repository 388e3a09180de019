"""`submission.yaml`: what a participant hands in, and what it says of the network."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    StringConstraints,
    field_validator,
    model_validator,
)

from evaluator.documents.base import MAX_FOLDS, Contract, Digest, FileName, Fold, Name, Title
from evaluator.documents.input_spec import InputSpec
from evaluator.documents.notes import MethodNotes, from_version_1
from evaluator.files import canonical_json, sha256_bytes

MEGABYTE = 1_000_000
MAX_MODEL_BYTES = 2_000 * MEGABYTE  # of one ONNX file: protobuf ends at 2 GiB
MAX_PARAMETERS = 8 * MAX_MODEL_BYTES  # none is smaller than a bit
OLDEST_OPSET, NEWEST_OPSET = 11, 26  # the newest that ONNX Runtime runs; onnx already writes 28


class ModelLimits(Contract):
    """How large one ONNX file of a submission may be: `limits.model` of challenge.yaml.

    The defaults take every network that is published for this task, at its usual size.
    """

    megabytes: int = Field(
        default=1_900,
        ge=1,
        le=MAX_MODEL_BYTES // MEGABYTE,
        description="Size of the file, in 10⁶ bytes.",
    )
    nodes: int = Field(default=20_000, ge=1, le=100_000, description="Nodes, functions expanded.")
    parameters: int = Field(
        default=500_000_000,
        ge=1,
        le=MAX_PARAMETERS,
        description="Values that are stored in the file, whatever they are for.",
    )
    gmacs: float = Field(
        default=2_000,
        gt=0,
        le=1_000_000,
        description="10⁹ multiply-accumulates for one image of the declared size.",
    )
    opset: int = Field(
        default=NEWEST_OPSET, ge=17, le=NEWEST_OPSET, description="The newest opset."
    )

    @property
    def bytes(self) -> int:
        """The largest file."""
        return self.megabytes * MEGABYTE


OutputKind = Literal["logits", "probabilities", "softmax", "mask"]


class OutputSpec(Contract):
    """What a participant's network gives: the lesion is where its probability is above `threshold`.

    `logits` and `probabilities` are one map an image. `softmax` is two maps of logits, background
    and lesion; the softmax itself is taken here. `mask` is one map of zeros and ones, cut at one
    half like any other once it is resampled.
    """

    kind: OutputKind = Field(
        default="logits",
        description="One map of `logits`, of `probabilities` or of zeros and ones (`mask`); or "
        "`softmax`, two maps of logits, background and lesion.",
    )
    threshold: float = Field(
        default=0.5,
        json_schema_extra={"exclusiveMinimum": 0, "exclusiveMaximum": 1},
        description="Lesion is where the probability is strictly above.",
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

    fold: Fold | None = Field(
        default=None, description="Whose model it is, from 0 on. Null: of all folds."
    )
    file: FileName = Field(description="The ONNX file, beside submission.yaml.")
    # PowerShell writes it in upper case.
    sha256: Annotated[Digest, BeforeValidator(_lower)] = Field(
        description="Its digest, as `sha256sum FILE` prints it."
    )


NEW_INPUT = ("multiple", "spacing", "normalise")  # fields of `input` that version 1 lacks


class Entry(MethodNotes):
    """What every submission says of itself, whatever it consists of."""

    team: Title = Field(description="Your team, as the board shows it.")
    method: Title = Field(description="Your method, as the board shows it.")
    track: Name = Field(description="The track, as `bundle.json` of the training bundle names it.")

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
        default="busbench/image-submission/v2",
        alias="schema",
        description="The version of this document; it also says that an image is submitted.",
    )
    image: ImageDigest = Field(
        description="The image by digest, `NAME@sha256:…`, or by the id that your engine gives it."
    )

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
        default="busbench/submission/v2",
        alias="schema",
        description="The version of this document.",
    )
    input: InputSpec = Field(description="How each image is prepared for the network.")
    output: OutputSpec = Field(description="What the network gives; `{}` takes both defaults.")
    models: tuple[ModelFile, ...] = Field(
        min_length=1,
        max_length=MAX_FOLDS,
        description="The ONNX files: one for each fold, or one for all.",
    )
    opset: int = Field(
        ge=OLDEST_OPSET, le=NEWEST_OPSET, description="The opset that the files use."
    )
    parameters: int | None = Field(
        default=None,
        ge=0,
        le=MAX_PARAMETERS,
        description="Trainable parameters of one model: a claim, beside the evaluator's count.",
    )

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
