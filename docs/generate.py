"""Pages that follow from the code: formats, error codes, the gate. Run it after changing one.

python docs/generate.py            write formats.md, errors.md, gate.md and schemas/
python docs/generate.py --check    say which of them are out of date, and fail
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from evaluator.documents.base import Contract
from evaluator.errors import CODES, Fault
from evaluator.gate import RULES, GateLimits, first_load, intake
from evaluator.gate.operators import ALLOWED
from evaluator.gate.parameters import FREE as FREE_NUMBERS
from evaluator.gate.work import ELEMENTWISE, FREE, PRODUCTS

DOCS = Path(__file__).resolve().parent
NOTE = "<!-- Written by docs/generate.py from the code; do not edit. -->\n"
# Imported for the documents that they declare; others need an extra, or run something.
DECLARE = {
    "evaluator": {"documents"},
    "harness": {
        "audit",
        "challenge",
        "datasets",
        "execution",
        "export",
        "ledger",
        "proposal",
        "quotas",
        "ranking",
        "sandbox",
        "sealing",
        "splits",
        "store",
        "submission",
    },
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
    written = {"errors.md": _errors(), "formats.md": _formats(kinds), "gate.md": _gate()}
    return {DOCS / name: text for name, text in written.items()} | schemas


def _documents() -> Iterator[tuple[str, dict[str, Any]]]:
    """(kind, JSON Schema) of every contract that carries a `schema` of its own."""
    for name, declare in DECLARE.items():
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            if module.name.split(".")[1] in declare:
                importlib.import_module(module.name)
    for model in _subclasses(Contract):
        schema = model.model_json_schema(by_alias=True)
        name = _schema_name(schema)
        if name is not None and not _subclasses(model):
            yield name.split("/")[1] + _suffix(schema), schema


def _schema_name(schema: dict[str, Any]) -> str | None:
    """The name of a document's schema; where older ones are read, too, the newest."""
    field = schema["properties"].get("schema", {})
    name = field.get("const", field.get("default"))
    return None if name is None else str(name)


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
        name = _schema_name(schema)
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


GATE = """# The gate

What an ONNX file must be before the evaluator runs it, and what is counted off it. `busbench
check` applies all of this on your machine. A refusal names the code, the node and what it found
there.

## Operators that may run

They are deterministic, take and give plain tensors of numbers, and end. Any other is refused
(`G-OPERATOR`), and so is any other domain (`G-DOMAIN`); local functions of ONNX are read through.

{operators}

## What is counted

**Parameters** are the constants that flow into the result, in whatever they come: an initialiser
of any type, a `Constant` of any kind, an attribute, a table, bits that are taken apart (one for
each byte), in the graph, a branch or a function. One that is used twice counts once; a function's
own count once, however often it is called. For an honest network that is PyTorch's number, but
for batch norms that the exporter folds into
convolutions, and for tables that are not learned, such as the masks of shifted windows: nothing
distinguishes them from weights. Of trees, each node's threshold and feature and each leaf's weight
and class count, and no link between nodes. Where a size is computed with, what it was made of
counts: sizes of tensors without values, and the sizes that operators are given. Four exceptions
hide no weight: {free} different single numbers in arithmetic are free, and as many such sizes;
running statistics, scales and zero points count only where they are more than the weights beside
them; first states of recurrent layers count where they are not zero.

**GMACs** are multiply-accumulates / 10⁹ for one image of the declared size. Of a network that
sees tiles the gate counts, and limits, one tile; the report and the board have those of all tiles
of the mean test image. By the usual
formulas: {products}. Elementwise products ({elementwise}) are left out as papers do, up to a
fifth of that; beyond, all of them count, since a layer can be written in them. These count
nothing: {nothing}. An operator that is in no list, or a shape that stays unknown, makes the
number *not counted*, on the board and in every table, and never smaller. Both branches of an `If`
count. The number is worked out by the process that first loads the model; one that a model takes
over could report another.

## Rules

| code | demand |
| --- | --- |
{rules}

A file may have {fields} protobuf fields, {nodes} nodes with its functions expanded, {values}
values, and {gmacs} GMACs. Lists of any other kind end at 100,000 members. A node's name is free:
no runtime reads it.
"""


def _gate() -> str:
    def words(names: Iterable[str]) -> str:
        return ", ".join(f"`{name}`" for name in sorted(names))

    limits = GateLimits()
    rules = {**intake.SENTENCES, **{rule.code: rule.sentence for rule in RULES}}
    rules |= first_load.SENTENCES
    operators = [
        f"- {f'`{name}`' if name else 'ONNX'}: {words(each)}" for name, each in ALLOWED.items()
    ]
    return NOTE + GATE.format(
        operators="\n".join(operators),
        free=FREE_NUMBERS,
        products=words(PRODUCTS),
        elementwise=words(ELEMENTWISE),
        nothing=words(FREE),
        rules="\n".join(f"| `{code}` | {sentence} |" for code, sentence in rules.items()),
        fields=f"{limits.max_fields:,}",
        nodes=f"{limits.max_nodes:,}",
        values=f"{limits.max_parameters:,}",
        gmacs=f"{limits.max_gmacs:,.0f}",
    )


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
