"""The files that pass between the components: one pydantic model for each, validated at both ends.

Every document carries `schema: busbench/<kind>/v1`; unknown fields are refused. Digests are SHA-256
in lower-case hexadecimal. `read` and `write` are the only ways in and out.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass
from pydantic_core import to_jsonable_python

from evaluator.errors import BusbenchError, Code
from evaluator.files import canonical_json, pretty_pieces, sha256_bytes, write_atomically

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
NAME, FILE_NAME = r"[a-z0-9][a-z0-9_.-]{0,63}", r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}"
Name = Annotated[str, StringConstraints(pattern=rf"^{NAME}$")]
CaseId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$")]
# A line for people: no control characters (they steer terminals), no line or paragraph breaks.
Title = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]+$"
    ),
]
FileName = Annotated[str, StringConstraints(pattern=rf"^{FILE_NAME}$")]
Label = Literal["benign", "malignant", "normal"]
Policy = Literal["patient", "image"]
Ranked = Literal["dice", "iou", "hd95"]  # the metrics that rank; a report holds more
RANKED: tuple[Ranked, ...] = get_args(Ranked)
MAX_SIDE = 8192  # pixels: no image of the datasets comes near it, and a bomb would pass it
MAX_CASES = 100_000
MAX_MODEL_BYTES = 500_000_000  # of one ONNX file
MAX_FOLDS = 20
Fold = Annotated[int, Field(ge=0, lt=MAX_FOLDS)]


class Contract(BaseModel):
    """A document between components: frozen; unknown fields, NaN and infinity are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False
    )

    def document(self) -> dict[str, Any]:
        """The document as plain JSON values, with `schema` under its own name."""
        return self.model_dump(mode="json", by_alias=True)

    @classmethod
    def hold(cls, fields: dict[str, Any]) -> Any:
        """What to hold of a JSON object inside the document until all of it is read."""
        return fields


# Of a document's rows, one a case: validated alike, in a third of a model's memory.
ROW = ConfigDict(extra="forbid", allow_inf_nan=False)


# --- split manifest: freeze -> seal, verify --------------------------------------------------


class SplitRule(Contract):
    """What was asked of a draw."""

    dataset: Name
    version: Name
    policy: Policy
    seed: int = Field(ge=0, lt=2**32)
    test_fraction: float = Field(gt=0, lt=1)
    folds: int = Field(ge=2, le=20)


class SplitAudit(Contract):
    """The audit's verdict on a split: counts alone, for its pairs would tell of withheld labels."""

    near: bool  # whether near-duplicates were looked for
    leaking: int = Field(ge=0)  # test cases with their patient, or a twin, in training
    share: float = Field(ge=0, le=1)  # of the test cases
    by_kind: dict[str, int]  # leaking cases by why; one case may count under several
    groups: int = Field(ge=0)  # groups that stand on both sides


class SplitLock(SplitRule):
    """`lock.json` of a frozen split: what it is, and a digest over everything.

    Parts are called `all`, `train`, `test` and `fold-0`, `fold-1`, ... of the training part.
    """

    schema_: Literal["busbench/split-lock/v1"] = Field(
        default="busbench/split-lock/v1", alias="schema"
    )
    counts: dict[str, dict[str, int]]  # part -> class -> cases
    quartiles: dict[str, dict[str, int]]  # part -> none, Q1, ..., Q4 of lesion area -> cases
    leaks: bool  # a mark for readers: results on it are no evidence of generalisation
    audit: SplitAudit
    tool_version: str  # of the rules that drew it; changes only when a draw would
    store_digest: Digest
    split_sha256: Digest  # of split.csv
    rows: dict[CaseId, Digest]  # case -> SHA-256 of its line in split.csv
    masks: dict[CaseId, Digest]  # training case -> SHA-256 of its mask's pixels
    commitments: dict[CaseId, Digest]  # test case -> SHA-256 over salt, case id, class and mask
    field_digests: dict[str, Digest]  # field above -> SHA-256 of its value, to name what changed
    digest: Digest  # over all fields above

    @model_validator(mode="after")
    def _marked(self) -> Self:
        if self.leaks != (self.audit.leaking > 0):
            raise ValueError("leaks: contradicts the audit")
        return self


# --- bundles: seal -> train, infer, score ----------------------------------------------------


class TrainingBundle(Contract):
    """`bundle.json` of the public training bundle; cases stand in `cases.csv` beside it."""

    schema_: Literal["busbench/training-bundle/v1"] = Field(
        default="busbench/training-bundle/v1", alias="schema"
    )
    dataset: Name
    track: Name
    split_version: Name
    split_digest: Digest
    folds: int
    cases: int
    cases_sha256: Digest


class SealedBundle(Contract):
    """`bundle.json` of the sealed bundle: two age files, each to a key of its own."""

    schema_: Literal["busbench/sealed-bundle/v1"] = Field(
        default="busbench/sealed-bundle/v1", alias="schema"
    )
    dataset: Name
    track: Name
    split_version: Name
    split_digest: Digest
    labels: Literal["public", "private"]
    folds: int
    cases: int
    images_sha256: Digest
    labels_sha256: Digest
    consistency: bool  # whether the archives hold a seed for the consistency pass
    image_recipient: str
    label_recipient: str


@dataclass(frozen=True, kw_only=True, slots=True, config=ROW)
class SealedCase:
    """One row of the index inside a sealed archive; what the component may not know stays null."""

    case_id: CaseId
    height: int = Field(ge=1, le=MAX_SIDE)
    width: int = Field(ge=1, le=MAX_SIDE)
    file: FileName
    label: Label | None = None
    device: str | None = None  # the scanner
    patient_group: str | None = None
    spacing_mm: tuple[float, float] | None = None  # (row, column)


class SealedIndex(Contract):
    """`index.json`, the first member of a sealed archive.

    The seed of the consistency pass is the same in both archives and stands nowhere else; null
    where the pass is off.
    """

    schema_: Literal["busbench/sealed-index/v1"] = Field(
        default="busbench/sealed-index/v1", alias="schema"
    )
    split_digest: Digest
    consistency_seed: Digest | None = None  # 256 random bits
    cases: tuple[SealedCase, ...]

    @classmethod
    def hold(cls, fields: dict[str, Any]) -> Any:
        """A row at once as what it will be, in a third of the memory."""
        return SealedCase(**fields) if "file" in fields else fields


# --- submission: participant -> gate ---------------------------------------------------------


Positive = Annotated[float, Field(gt=0)]


class InputSpec(Contract):
    """How a participant's network wants its input.

    `mean` and `std` apply after division by 255; each is one number, or one a channel.
    """

    height: int = Field(ge=16, le=2048)
    width: int = Field(ge=16, le=2048)
    resize: Literal["letterbox", "stretch"] = "letterbox"
    channels: Literal["grey", "rgb"] = "grey"
    mean: float | tuple[float, ...] = 0.0
    std: Positive | tuple[Positive, ...] = 1.0

    @property
    def depth(self) -> int:
        """How many channels the network takes; `rgb` repeats the grey image."""
        return 3 if self.channels == "rgb" else 1

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
    threshold: float = Field(default=0.5, gt=0, lt=1)  # on probabilities, strictly above

    @property
    def maps(self) -> int:
        """How many maps the network gives an image."""
        return 2 if self.kind == "softmax" else 1

    @model_validator(mode="after")
    def _a_mask_is_cut_already(self) -> Self:
        if self.kind == "mask" and self.threshold != 0.5:
            raise ValueError("threshold: a mask has been cut already; leave it out")
        return self


class ModelFile(Contract):
    """One ONNX file: the model of one fold, or of all folds where `fold` is null."""

    fold: Fold | None = None
    file: FileName
    sha256: Digest


class Submission(Contract):
    """`submission.yaml`: what a participant hands in, beside the ONNX files it names."""

    schema_: Literal["busbench/submission/v1"] = Field(
        default="busbench/submission/v1", alias="schema"
    )
    team: Title
    method: Title
    track: Name
    input: InputSpec
    output: OutputSpec
    models: tuple[ModelFile, ...] = Field(min_length=1, max_length=MAX_FOLDS)
    opset: int = Field(ge=11, le=26)
    parameters: int | None = Field(default=None, ge=0)  # claimed; the report counts for itself

    @property
    def digest(self) -> Digest:
        """What the submission is called from the gate on; it covers every file's digest too."""
        return sha256_bytes(canonical_json(self.document()))

    @model_validator(mode="after")
    def _folds_once(self) -> Self:
        folds = [model.fold for model in self.models]
        if len(set(folds)) != len(folds) or (None in folds and len(folds) > 1):
            raise ValueError("models: name each fold once, or one model with fold null for all")
        if len({model.file for model in self.models}) != len(folds):
            raise ValueError("models: each file may be named once")
        return self


# --- gate -> infer -> score ------------------------------------------------------------------


class CountedModel(Contract):
    """What the gate read off one ONNX graph."""

    fold: int | None
    sha256: Digest
    opset: int
    nodes: int
    parameters: int
    gmacs: float | None  # conv and matmul at batch 1; null where shapes cannot be inferred


class GateVerdict(Contract):
    """`gate.json`: every model passed; refusals are errors and leave no verdict."""

    schema_: Literal["busbench/gate/v1"] = Field(default="busbench/gate/v1", alias="schema")
    submission_sha256: Digest
    models: tuple[CountedModel, ...]


class Runtime(Contract):
    """What inference really ran on."""

    backend: Literal["onnxruntime", "triton"]
    backend_version: Title
    provider: Title
    device: Literal["cpu", "cuda", "tensorrt"]
    device_name: Title  # of the processor or the GPU; `unknown` where it does not tell
    threads: int
    batch_size: int
    latency_ms: float  # median of one image at batch 1, after a warm-up, the network alone
    repeated_cases: int  # of each model, run a second time: every mask came out the same


@dataclass(frozen=True, kw_only=True, slots=True, config=ROW)
class PredictedCase:
    """A case's place in the packed masks: its id and the size of its mask."""

    case_id: CaseId
    height: int = Field(ge=1, le=MAX_SIDE)
    width: int = Field(ge=1, le=MAX_SIDE)


class Predictions(Contract):
    """`predictions.json`; beside it one `fold-<k>.bits` a model, or `fold-all.bits`.

    A `.bits` file is the concatenation, in the order of `cases`, of each case's boolean mask at
    native size: row-major, `numpy.packbits` (big bit order), padded to whole bytes per case.
    Where the consistency pass is on, `fold-<k>.moved.bits` holds the masks of the moved images in
    the same way, in the order and sizes of `moved`, which are those of the moved images.
    """

    schema_: Literal["busbench/predictions/v1"] = Field(
        default="busbench/predictions/v1", alias="schema"
    )
    submission_sha256: Digest
    split_digest: Digest
    folds: tuple[Fold | None, ...] = Field(min_length=1, max_length=MAX_FOLDS)
    cases: tuple[PredictedCase, ...] = Field(max_length=MAX_CASES)
    moved: tuple[PredictedCase, ...] = Field(default=(), max_length=MAX_CASES)
    masks: dict[FileName, Digest] = Field(default_factory=dict)  # each `.bits` file; older: none
    runtime: Runtime


# --- report: score -> ledger -----------------------------------------------------------------


class MetricSummary(Contract):
    """One metric over the cases of one group, fold by fold."""

    mean: float
    std: float | None  # over folds, ddof 1; null with a single model
    ci_low: float | None = None  # 95 %, bootstrap over patients; null for small groups
    ci_high: float | None = None
    folds: tuple[float, ...]


class Consistency(Contract):
    """What a group loses on moved images; see `evaluator.consistency`.

    Over those of its lesion cases that keep at least half of their lesion.
    """

    cases: int
    moved: dict[str, MetricSummary]  # on the moved images
    gap: dict[str, MetricSummary]  # plain minus moved, case by case


class GroupScores(Contract):
    """All metrics over one group of test cases."""

    cases: int
    patients: int
    metrics: dict[str, MetricSummary]
    consistency: Consistency | None = None  # null where the pass is off, or no case qualifies


class Scores(Contract):
    """`scores.json`: what the score container says, before the harness signs a report."""

    schema_: Literal["busbench/scores/v1"] = Field(default="busbench/scores/v1", alias="schema")
    metric_profile: str
    units: dict[str, str]
    groups: dict[str, GroupScores]  # by the names of `evaluator.groups`
    true_negatives: int  # both masks empty, over all folds
    invalid: int  # masks that took the worst value, over all folds and both passes
    predictions_sha256: Digest


class Provenance(Contract):
    """What produced a report, by digest."""

    submission_sha256: Digest
    models_sha256: tuple[Digest, ...]
    split_digest: Digest
    sealed_images_sha256: Digest
    sealed_labels_sha256: Digest
    predictions_sha256: Digest
    evaluator: dict[str, str]  # stage -> image id, or `process` and the version
    runner: Literal["docker", "process"]
    busbench: str
    trained_here: str | None  # image id of the training container, else null


class Report(Contract):
    """The predicate of a signed report."""

    schema_: Literal["busbench/report/v1"] = Field(default="busbench/report/v1", alias="schema")
    team: Title
    method: Title
    track: Name
    dataset: Name
    split_version: Name
    labels: Literal["public", "private"]
    status: Literal["complete", "incomplete"]
    scores: Scores
    models: tuple[CountedModel, ...]
    runtime: Runtime
    provenance: Provenance

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if {model.sha256 for model in self.models} != set(self.provenance.models_sha256):
            raise ValueError("models and provenance name different model files")
        if self.scores.predictions_sha256 != self.provenance.predictions_sha256:
            raise ValueError("scores and provenance name different predictions")
        return self


# --- in and out ------------------------------------------------------------------------------

Document = TypeVar("Document", bound=Contract)
MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
MAX_YAML_CHARACTERS, MAX_YAML_DEPTH = 65536, 16


def parse(model: type[Document], data: bytes, where: str, code: Code, remedy: str) -> Document:
    """Validate a JSON or YAML document.

    Args:
        where: the file's name, for the error.
        code: the error's code, which says whose document it is.
        remedy: what its owner should do.

    Raises:
        BusbenchError: with `code`, naming the first field that is wrong.
    """
    if len(data) > MAX_DOCUMENT_BYTES:
        raise BusbenchError(code, f"{where} is larger than {MAX_DOCUMENT_BYTES} bytes.", remedy)
    try:
        text = data.decode("utf-8")
        is_yaml = where.endswith((".yaml", ".yml"))
        value = _safe_yaml(text) if is_yaml else json.loads(text, object_hook=model.hold)
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the document"
        raise BusbenchError(code, f"{where}: {field}: {first['msg']}.", remedy) from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BusbenchError(code, f"{where} cannot be read: {line}.", remedy) from error


def _safe_yaml(text: str) -> Any:
    """Load YAML without aliases or deep nesting: no document needs them, and both are bombs."""
    if len(text) > MAX_YAML_CHARACTERS:
        raise ValueError(f"longer than {MAX_YAML_CHARACTERS} characters")
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("YAML aliases are not allowed")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_YAML_DEPTH:
            raise ValueError(f"nested deeper than {MAX_YAML_DEPTH} levels")
    return yaml.load(text, Loader=_OneOfEach)


class _OneOfEach(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping, of which the loader would drop the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((key for number, key in enumerate(keys) if key in keys[:number]), None)
        if twice is not None:
            raise ValueError(f"{twice} stands there twice")
        return super().construct_mapping(node, deep)


def read(model: type[Document], path: Path, code: Code, remedy: str) -> Document:
    """Read and validate the document at `path`; see `parse` for what is raised."""
    try:
        with open(path, "rb", opener=_without_waiting) as handle:
            data = handle.read(MAX_DOCUMENT_BYTES + 1) or b""  # None: a pipe with nothing in it
    except OSError as error:
        raise BusbenchError(code, f"{path} cannot be read ({error.strerror}).", remedy) from error
    return parse(model, data, str(path), code, remedy)


def read_bytes(path: Path, code: Code, remedy: str) -> bytes:
    """The bytes of a file of a folder that `read` told about; raises the error `code`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BusbenchError(code, f"{path} cannot be read ({error.strerror}).", remedy) from error


def _without_waiting(path: str, flags: int) -> int:
    """Open what may be a pipe that nobody writes to, or nobody stops writing to."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def write(document: Contract, path: Path) -> None:
    """Write a document atomically, in the one layout used for files that people may open.

    Row by row: a long one is never held a second time.
    """
    fields = {
        field.alias or name: getattr(document, name)
        for name, field in type(document).model_fields.items()
    }
    write_atomically(path, pretty_pieces(fields, default=_plain))


def _plain(value: Any) -> Any:
    """A part of a document as plain JSON values."""
    return value.document() if isinstance(value, Contract) else to_jsonable_python(value)
