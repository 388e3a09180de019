"""Pages that follow from the code: file formats and error codes. Run it after changing either.

python docs/generate.py            write docs/formats.md, docs/errors.md and docs/schemas/
python docs/generate.py --check    say which of them are out of date, and fail
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evaluator.documents.base import Contract
from evaluator.errors import CODES, Fault

DOCS = Path(__file__).resolve().parent
sys.path.append(str(DOCS.parent))  # `ci` is not installed with the other packages
NOTE = "<!-- Written by docs/generate.py from the code; do not edit. -->\n"
# Imported for the documents that they declare; others need an extra, or run something.
DECLARE = {
    "evaluator": {"documents"},
    "harness": {
        "audit",
        "challenge",
        "execution",
        "ledger",
        "quotas",
        "ranking",
        "sandbox",
        "sealing",
        "splits",
        "store",
        "submission",
    },
    "ci": {"proposal"},
}
ACTS = {
    Fault.USAGE: "you: the command line",
    Fault.SUBMISSION: "the participant: submission, model, training",
    Fault.ORGANISER: "the organiser: data, splits, keys, ledger",
    Fault.INFRASTRUCTURE: "whoever runs the machine; it never consumes a quota",
}


def pages() -> dict[Path, str]:
    """Every generated file and its text."""
    kinds = dict(sorted(_documents()))
    schemas = {
        DOCS / "schemas" / f"{kind}.json": json.dumps(schema, indent=2, sort_keys=True) + "\n"
        for kind, schema in kinds.items()
    }
    return {DOCS / "errors.md": _errors(), DOCS / "formats.md": _formats(kinds), **schemas}


def _documents() -> Iterator[tuple[str, dict[str, Any]]]:
    """(kind, JSON Schema) of every contract that carries a `schema` of its own."""
    for name, declare in DECLARE.items():
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if module.name.split(".")[1] in declare:
                importlib.import_module(module.name)
    for model in _subclasses(Contract):
        schema = model.model_json_schema(by_alias=True)
        name = schema["properties"].get("schema", {}).get("const")
        if name is not None and not _subclasses(model):
            yield name.split("/")[1] + _suffix(schema), schema


def _suffix(schema: dict[str, Any]) -> str:
    """What distinguishes documents of one schema: the kind of a ledger's entry."""
    kind = schema["properties"].get("kind", {}).get("const")
    return "" if kind is None else f"-{kind}"


def _subclasses(model: type[Contract]) -> list[type[Contract]]:
    found = [below for child in model.__subclasses__() for below in (child, *_subclasses(child))]
    return sorted(set(found), key=lambda each: each.__qualname__)


def _errors() -> str:
    lines = [NOTE, "# Error codes\n"]
    lines.append(
        "Every error is one sentence that names the thing concerned and one that says what to do. "
        "The code in brackets is stable; its group is the exit status and says who has to act. "
        "With `--json` the error is an object with `code`, `message`, `remedy` and `fault`; of "
        "`evaluate` and `train`, each is in the list `failed`.\n"
    )
    for fault, who in ACTS.items():
        lines += [f"## {fault.value}: {who}\n", "| code | meaning |", "| --- | --- |"]
        rows = sorted((code, means) for code, (whose, means) in CODES.items() if whose is fault)
        lines += [f"| `{code}` | {means} |" for code, means in rows] + [""]
    return "\n".join(lines)


def _formats(kinds: dict[str, dict[str, Any]]) -> str:
    lines = [NOTE, "# File formats\n"]
    lines.append(
        "What passes from one trust domain to another is a file with a declared format, validated "
        "at both ends. Unknown fields, NaN and infinity are refused. Digests are SHA-256 in "
        "lower-case hexadecimal. JSON Schemas are beside this page.\n"
    )
    for kind, schema in kinds.items():
        about = str(schema.get("description", "")).strip()
        name = schema["properties"]["schema"]["const"]
        lines += [f"## {kind}\n", f"{about}\n", f"`{name}`, [JSON Schema](schemas/{kind}.json)\n"]
        lines += ["| field | is | |", "| --- | --- | --- |"]
        needed = set(schema.get("required", ()))
        lines += [
            f"| `{field}` | {_is(value)} | {'' if field in needed else 'optional'} |"
            for field, value in schema["properties"].items()
            if field != "schema"
        ]
        lines.append("")
    return "\n".join(lines)


def _is(value: dict[str, Any]) -> str:
    """A JSON Schema's type in a few words."""
    named = [value.get("additionalProperties"), *value.get("patternProperties", {}).values()]
    inner = [each for each in named if isinstance(each, dict)]
    words = {
        "$ref": lambda: str(value["$ref"]).rsplit("/", 1)[1],
        "const": lambda: f"`{value['const']}`",
        "enum": lambda: ", ".join(f"`{each}`" for each in value["enum"]),
        "anyOf": lambda: " or ".join(dict.fromkeys(_is(each) for each in value["anyOf"])),
        "items": lambda: f"list of {_is(value['items'])}",
    }
    for key, describe in words.items():
        if key in value:
            return describe()
    return f"name → {_is(inner[0])}" if inner else str(value.get("type", "any"))


def main() -> int:
    """Write the pages, or say which differ from what the code says."""
    stale = []
    wanted = pages()
    gone = [path for path in (DOCS / "schemas").glob("*.json") if path not in wanted]
    for path, text in wanted.items():
        if "--check" in sys.argv:
            stale += [path] if not path.exists() or path.read_text("utf-8") != text else []
            continue
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    for path in gone:
        stale.append(path) if "--check" in sys.argv else path.unlink()
    for path in stale:
        print(f"{path.relative_to(DOCS.parent)} is out of date: run `python docs/generate.py`.")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
