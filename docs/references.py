"""Reference pages of the files that people write: each key's meaning, type, default and example.

Meanings are the descriptions of the models' fields; examples are of the files in docs/examples.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from evaluator.documents.base import Contract
from evaluator.documents.submission import ImageSubmission, Submission
from harness.challenge import Challenge

EXAMPLES = Path(__file__).resolve().parent / "examples"
PATTERNS = {  # of a text -> what it demands
    "^[a-z0-9][a-z0-9_.-]{0,63}$": "a name",
    "^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$": "a file's name",
    "^[0-9a-f]{64}$": "64 hexadecimal digits",
}
NAMES = (
    "*A name* takes small letters, digits, `_`, `.` and `-`, begins with a letter or digit, has 64 "
    "characters at most; a file's name may have capitals, too, and 100.\n"
)
FORMATS = {"date": "a day, as 2027-03-01", "path": "a path"}
HEAD = "| key | type | default | example | meaning |\n| --- | --- | --- | --- | --- |"


def challenge_page() -> str:
    """The reference of `challenge.yaml`."""
    about = (
        "# challenge.yaml\n\n"
        "What an organiser declares: [how it is used](organiser.md#before-the-challenge). The file "
        "is in the folder where you work, or is named with `--challenge`. Every key below has a "
        "default unless it says *needed*; an unknown key is refused.\n"
    )
    lines = [about, *_shown("challenge.yaml"), NAMES, *_sections(Challenge, "challenge.yaml")]
    return "\n".join(lines)


def submission_page() -> str:
    """The reference of `submission.yaml`, in both its kinds."""
    about = (
        "# submission.yaml\n\n"
        "What a participant says of a submission: [how to make one](participant.md#what-you-submit)"
        ". The file is in the submission's folder, beside the ONNX files. `busbench check` names "
        "the first key that is wrong. `submission_template/submission.yaml` "
        "of the repository is such a file with comments.\n"
    )
    kinds = ("resized", "tiled", "native")
    names = [f"submission-{kind}.yaml" for kind in kinds]
    lines = [about, "## Of ONNX files\n", *_shown(*names), NAMES]
    lines += [*_sections(Submission, *names, level=3)]
    lines += ["## Of a container image\n", *_shown("submission-image.yaml")]
    lines += [*_sections(ImageSubmission, "submission-image.yaml", level=3)]
    return "\n".join(lines)


def _shown(*names: str) -> Iterator[str]:
    for name in names:
        yield f"```yaml\n{(EXAMPLES / name).read_text('utf-8')}```\n"


def _sections(model: type[Contract], *names: str, level: int = 2) -> Iterator[str]:
    """One table for each model of a document: the document itself, then what is inside it."""
    written = [yaml.safe_load((EXAMPLES / name).read_text("utf-8")) for name in names]
    for example in written:
        model.model_validate(example)
    root = model.model_json_schema(by_alias=True)
    defs = root.get("$defs", {})
    yield f"{'#' * level} The file\n"
    yield from _table(root, {"": written}, root)
    for name, found in _places(root, defs).items():
        values = {place: [v for one in written for v in _at(one, place)] for place in found}
        yield f"{'#' * level} {', '.join(f'`{place}`' for place in found)}\n"
        yield f"{defs[name]['description'].split(chr(10) * 2)[0]}\n"
        yield from _table(defs[name], values, root)


def _places(schema: dict[str, Any], defs: dict[str, Any], place: str = "") -> dict[str, list[str]]:
    """Where each inner model is, as `tracks.NAME`, in the order of the document."""
    found: dict[str, list[str]] = {}
    for key, field in schema["properties"].items():
        for name, below in _references(field, f"{place}{key}"):
            found.setdefault(name, []).append(below)
            for inner, deeper in _places(defs[name], defs, f"{below}.").items():
                found.setdefault(inner, []).extend(deeper)
    return found


def _references(field: dict[str, Any], place: str) -> Iterator[tuple[str, str]]:
    """(model, place) of what a field consists of."""
    if "$ref" in field:
        yield field["$ref"].rsplit("/", 1)[1], place
    for each in field.get("anyOf", ()):
        yield from _references(each, place)
    if isinstance(field.get("items"), dict):
        yield from _references(field["items"], f"{place}[]")
    for named in _named(field):
        yield from _references(named, f"{place}.NAME")


def _named(field: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas of a mapping's values."""
    found = [field.get("additionalProperties"), *field.get("patternProperties", {}).values()]
    return [each for each in found if isinstance(each, dict)]


def _at(document: Any, place: str) -> Iterator[Any]:
    """The values at a place of a document."""
    if document is None or not place:
        yield from () if document is None else (document,)
        return
    key, _, rest = place.partition(".")
    if key == "NAME":
        found = list(document.values())
    elif key.endswith("[]"):
        found = list(document.get(key[:-2], ()))
    else:
        found = [document.get(key)]
    for each in found:
        yield from _at(each, rest)


def _table(
    schema: dict[str, Any], values: dict[str, list[Any]], root: dict[str, Any]
) -> Iterator[str]:
    """A row for each key.

    Args:
        values: what the examples have at each of the model's places.
        root: the whole document's schema, for the defaults that depend on a place.
    """
    yield HEAD
    examples = [one for found in values.values() for one in found]
    for key, field in schema["properties"].items():
        shown = next((one[key] for one in examples if one.get(key) is not None), None)
        if shown is None:
            raise ValueError(f"no file of docs/examples has {', '.join(values)} {key}")
        meaning = field.get("description") or _referred(field, root)["description"]
        needed = key in schema.get("required", ())
        default = "*needed*" if needed else _default(key, field, _above(values, root))
        cells = (f"`{key}`", kind_of(field), default, _value(shown), meaning)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _referred(field: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = root["$defs"][field["$ref"].rsplit("/", 1)[1]]
    return found


def _above(places: Iterable[str], root: dict[str, Any]) -> dict[str, Any]:
    """The last part of each place -> the default that the document gives the model there."""
    found = {}
    for place in filter(None, places):
        first, _, rest = place.partition(".")
        default = root["properties"].get(first, {}).get("default")
        found[place.rpartition(".")[2]] = next(_at(default, rest), None)
    return found


def _default(key: str, field: dict[str, Any], above: dict[str, Any]) -> str:
    """A key's default; where it depends on the place, that of each."""
    own = field.get("default", {} if _named(field) else None)
    found = {
        place: _value(given[key] if isinstance(given, dict) else own)
        for place, given in above.items()
    }
    if len({*found.values()}) > 1:
        return ", ".join(f"{place} {value}" for place, value in found.items())
    return next(iter(found.values()), _value(own))


def _value(value: Any) -> str:
    """A value, in one line of YAML; of something large, a word."""
    if isinstance(value, dict | list) and _is_large(value):
        return "see below"
    text = json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, dict | list):
        text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
    text = text.strip().strip('"')
    return f"`{text}`" if len(text) <= 40 else f"`{text[:37]}…`"


def _is_large(value: dict[str, Any] | list[Any]) -> bool:
    inner = value.values() if isinstance(value, dict) else value
    return any(isinstance(each, dict) for each in inner) or len(value) > 3


def kind_of(field: dict[str, Any]) -> str:
    """A field's type for people, with its bounds, from its JSON Schema."""
    if "anyOf" in field:
        kinds = [kind_of(each) for each in field["anyOf"] if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "$ref" in field:
        return "keys below"
    if "const" in field or "enum" in field:
        return " or ".join(f"`{each}`" for each in field.get("enum", [field.get("const")]))
    if named := _named(field):
        return f"name → {kind_of(named[0])}"
    if field.get("type") == "array":
        return f"list: {kind_of(field['items'])}" if "items" in field else "list"
    return _plain_kind(field)


def _plain_kind(field: dict[str, Any]) -> str:
    kind = field.get("type")
    if kind == "string":
        if field.get("pattern") in PATTERNS:
            return PATTERNS[field["pattern"]]
        longest = field.get("maxLength")
        words = FORMATS.get(field.get("format", ""), "text")
        return f"{words}, {longest:,} characters at most" if longest else words
    if kind == "boolean":
        return "`true` or `false`"
    name = {"integer": "whole number", "number": "number"}.get(str(kind), str(kind))
    return " ".join([name, *_bounds(field)])


def _bounds(field: dict[str, Any]) -> Iterator[str]:
    words = {
        "minimum": "from",
        "exclusiveMinimum": "above",
        "maximum": "to",
        "exclusiveMaximum": "below",
    }
    for key, word in words.items():
        if key in field:
            yield f"{word} {field[key]:,g}" if field[key] < 1e6 else f"{word} {field[key]:,.0f}"
