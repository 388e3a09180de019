"""Base of all documents: field types, the base model, and `parse`, `read` and `write`.

Every document carries `schema: busbench/<kind>/v<N>`; unknown fields are refused. Digests are
SHA-256 in lower-case hexadecimal. `read` and `write` are the only readers and writers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    StringConstraints,
    ValidationError,
)
from pydantic_core import CoreSchema, ErrorDetails, to_jsonable_python

from evaluator.documents.reading import MEBIBYTE, Bounds, load_json, load_yaml, read_bytes
from evaluator.errors import BusbenchError, Code
from evaluator.files import pretty_pieces, write_atomically

DIGEST = r"^[0-9a-f]{64}$"
Digest = Annotated[str, StringConstraints(pattern=DIGEST)]
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
_WORDS = {  # what a pattern demands, for people
    DIGEST: "a SHA-256 has 64 hexadecimal digits, as `sha256sum FILE` prints them",
    rf"^{NAME}$": "take lower-case letters, digits, `_`, `.` and `-`, 64 at most, and begin with "
    "a letter or digit",
    rf"^{FILE_NAME}$": "take letters, digits, `_`, `.` and `-`, 100 at most, begin with a letter "
    "or digit, and rename the file so",
}
Label = Literal["benign", "malignant", "normal"]
MAX_SIDE = 8192  # pixels: no image of the datasets comes near it, and a bomb would pass it
MAX_CASES = 100_000
MAX_FOLDS = 20
Fold = Annotated[int, Field(ge=0, lt=MAX_FOLDS)]
# Of documents with something for each case, and of those with numbers for each group of cases.
CASE_BY_CASE = Bounds(32 * MEBIBYTE, values=12 * MAX_CASES, keys=MAX_CASES)
GROUP_BY_GROUP = Bounds(4 * MEBIBYTE, values=200_000, keys=2000)


def _fail_fast(schema: Any) -> Any:
    """A part of a schema in which each collection is left at its first error."""
    if isinstance(schema, list | tuple):
        return type(schema)(map(_fail_fast, schema))
    if not isinstance(schema, dict):
        return schema
    parts = {
        name: part if name in ("default", "expected", "metadata") else _fail_fast(part)
        for name, part in schema.items()
    }
    collects = parts.get("type") in ("dict", "frozenset", "list", "set", "tuple")
    return {**parts, "fail_fast": True} if collects else parts


class Contract(BaseModel):
    """A document between components: frozen; unknown fields, NaN and infinity are refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False
    )
    bounds: ClassVar[Bounds] = Bounds()

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: type[BaseModel], handler: GetCoreSchemaHandler, /
    ) -> CoreSchema:
        """Validate to the first element that is wrong: a list of all would fill the memory."""
        schema: CoreSchema = _fail_fast(handler(source))
        return schema

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
_PREDICATE = ("predicateType",)  # in-toto's name for the version of what a statement contains
_MAX_REASON = 200  # characters of an error that the document itself may have written


def parse(model: type[Document], data: bytes, where: str, *, code: Code, remedy: str) -> Document:
    """Validate a JSON or YAML document, within the model's `bounds`.

    Args:
        where: the file's name, for the error.
        code: the error's code, which says whose document it is.
        remedy: what its owner should do.

    Raises:
        BusbenchError: with `code`, naming the first field that is wrong.
    """
    try:
        is_yaml = where.endswith((".yaml", ".yml"))
        value = load_yaml(data) if is_yaml else load_json(data, model.bounds, model.compact)
        return model.model_validate(value)
    except ValidationError as error:
        raise BusbenchError(code, f"{where}: {_first_problem(error)}.", remedy) from error
    except (ValueError, yaml.YAMLError, RecursionError) as error:
        line = str(error).splitlines()[0][:_MAX_REASON] if str(error) else type(error).__name__
        raise BusbenchError(code, f"{where} cannot be read: {line}.", remedy) from error


def _first_problem(error: ValidationError) -> str:
    """The first field that is wrong, and why; of a document of another version, its version."""
    problems = error.errors()
    for problem in problems:
        if problem["type"] == "literal_error" and problem["loc"][-1:] in (("schema",), _PREDICATE):
            found = problem["input"]
            named = f"{found[:100]!a}" if isinstance(found, str) else f"a {type(found).__name__}"
            return f"it is {named}, and this release reads {problem['ctx']['expected']}"
    field = ".".join(str(part) for part in problems[0]["loc"])[:_MAX_REASON] or "the document"
    return f"{field}: {_reason(problems[0])}"


def _reason(problem: ErrorDetails) -> str:
    """What is wrong with one field, without a regular expression."""
    if problem["type"] != "string_pattern_mismatch":
        return problem["msg"].removeprefix("Value error, ")
    return _WORDS.get(problem["ctx"]["pattern"], "it has characters that do not belong there")


def read(model: type[Document], path: Path, code: Code, *, remedy: str) -> Document:
    """Read and validate the document at `path`; see `parse` for what is raised."""
    data = read_bytes(path, model.bounds.bytes, code, remedy=remedy)
    return parse(model, data, str(path), code=code, remedy=remedy)


def write(document: Contract, path: Path, *, mode: int = 0o644) -> None:
    """Write a document atomically, in the one layout used for files that people may open.

    Row by row: a long one is never in memory a second time.

    Args:
        mode: of the file, from its first byte on.
    """
    fields = {
        field.alias or name: getattr(document, name)
        for name, field in type(document).model_fields.items()
        if field.exclude_if is None or not field.exclude_if(getattr(document, name))
    }
    write_atomically(path, pretty_pieces(fields, default=_plain), mode)


def _plain(value: Any) -> Any:
    """A part of a document as plain JSON values."""
    return value.document() if isinstance(value, Contract) else to_jsonable_python(value)
