"""Base of all documents: field types, the base model, and `parse`, `read` and `write`.

Every document carries `schema: busbench/<kind>/v<N>`; unknown fields are refused. Digests are
SHA-256 in lower-case hexadecimal. `read` and `write` are the only readers and writers.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import to_jsonable_python

from evaluator.errors import BusbenchError, Code
from evaluator.files import pretty_pieces, write_atomically

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
MAX_SIDE = 8192  # pixels: no image of the datasets comes near it, and a bomb would pass it
MAX_CASES = 100_000
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
    def compact(cls, fields: dict[str, Any]) -> Any:
        """A JSON object inside the document, in the form that it takes until all of it is read."""
        return fields


# Of a document's rows, one a case: validated alike, in a third of a model's memory.
ROW = ConfigDict(extra="forbid", allow_inf_nan=False)


Document = TypeVar("Document", bound=Contract)
MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
MAX_YAML_CHARACTERS, MAX_YAML_DEPTH = 65536, 16
# What the parsers raise; YAML's tags bring the last three: `!!int ""`, `!!map []`, `!!timestamp x`.
_UNREADABLE = (ValueError, yaml.YAMLError, RecursionError, LookupError, TypeError, AttributeError)
_PREDICATE = ("predicateType",)  # in-toto's name for the version of what a statement contains


def parse(model: type[Document], data: bytes, where: str, *, code: Code, remedy: str) -> Document:
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
        value = _safe_yaml(text) if is_yaml else json.loads(text, object_hook=model.compact)
        return model.model_validate(value)
    except ValidationError as error:
        raise BusbenchError(code, f"{where}: {_first_problem(error)}.", remedy) from error
    except _UNREADABLE as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BusbenchError(code, f"{where} cannot be read: {line}.", remedy) from error


def _first_problem(error: ValidationError) -> str:
    """The first field that is wrong, and why; of a document of another version, its version."""
    problems = error.errors()
    for problem in problems:
        if problem["type"] == "literal_error" and problem["loc"][-1:] in (("schema",), _PREDICATE):
            found = str(problem["input"])[:100]
            return f"it is {found!a}, and this release reads {problem['ctx']['expected']}"
    field = ".".join(str(part) for part in problems[0]["loc"]) or "the document"
    return f"{field}: {problems[0]['msg']}"


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
    """Refuses a key that is given twice in a mapping: the loader would drop the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((key for number, key in enumerate(keys) if key in keys[:number]), None)
        if twice is not None:
            raise ValueError(f"{twice} is given twice")
        return super().construct_mapping(node, deep)


def read(model: type[Document], path: Path, code: Code, *, remedy: str) -> Document:
    """Read and validate the document at `path`; see `parse` for what is raised."""
    try:
        with open(path, "rb", opener=_without_waiting) as handle:
            data = handle.read(MAX_DOCUMENT_BYTES + 1) or b""  # None: a pipe with nothing in it
    except OSError as error:
        raise BusbenchError(code, f"{path} cannot be read ({error.strerror}).", remedy) from error
    return parse(model, data, str(path), code=code, remedy=remedy)


def _without_waiting(path: str, flags: int) -> int:
    """Open what may be a pipe that nobody writes to, or nobody stops writing to."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def write(document: Contract, path: Path, *, mode: int = 0o644) -> None:
    """Write a document atomically, in the one layout used for files that people may open.

    Row by row: a long one is never in memory a second time.

    Args:
        mode: of the file, from its first byte on.
    """
    fields = {
        field.alias or name: getattr(document, name)
        for name, field in type(document).model_fields.items()
    }
    write_atomically(path, pretty_pieces(fields, default=_plain), mode)


def _plain(value: Any) -> Any:
    """A part of a document as plain JSON values."""
    return value.document() if isinstance(value, Contract) else to_jsonable_python(value)
