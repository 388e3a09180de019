"""Files that follow from the code: formats, errors, gate, limits, references, badges.

Run after a change.

python docs/generate.py            write the pages that `pages` names, and schemas/
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

import yaml
from badges import badge_files
from data_page import data_page
from json_output import ERROR, SCHEMAS, json_page, schema_file
from references import challenge_page, submission_page
from verbs import cli_page

from evaluator.documents.base import Contract
from evaluator.errors import CODES, Code, Fault
from evaluator.gate import RULES, GateLimits, first_load, intake
from evaluator.gate.operators import ALLOWED
from evaluator.gate.parameters import FREE as FREE_NUMBERS
from evaluator.gate.subject import CURES
from evaluator.gate.wire import MEMBERS
from evaluator.gate.work import ELEMENTWISE, FREE, PRODUCTS
from harness.challenge import StageLimits

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
REFERENCES = {
    "challenge-yaml.md": challenge_page,
    "submission-yaml.md": submission_page,
    "cli.md": cli_page,
    "data.md": data_page,
    "json-output.md": json_page,
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
    written["limits.md"] = _limits()
    written |= badge_files()
    for name, page in REFERENCES.items():
        written[name] = f"{NOTE}\n{page()}"
    outputs = {schema_file(verb): schema for verb, schema in SCHEMAS.items()}
    for name, schema in (*outputs.items(), (schema_file("error"), ERROR)):
        text = json.dumps(schema, indent=2, sort_keys=True)
        schemas[DOCS / "schemas" / name] = f"{text}\n"
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
        "With `--json` it is an object `error` with `code`, `message`, `remedy` and `fault`; those "
        "of single jobs of `evaluate`, `train` and `benchmark` are in the list `failed`.\n"
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
convolutions, for other factors that it multiplies into the weights beside them (of U-KAN's 25.4 M
parameters 23.8 M are counted, without the scalers of its splines), and for tables that are not
learned, such as the masks of shifted windows: nothing distinguishes them from weights.
Of trees, each node's threshold and feature and each leaf's weight
and class count, and no link between nodes. Where a size is computed with, what it was made of
counts: sizes of tensors without values, and the sizes that operators are given. Four exceptions
hide no weight: {free} different single numbers in arithmetic are free, and as many such sizes;
running statistics, scales and zero points count only where they are more than the weights beside
them; first states of recurrent layers count where they are not zero.

**GMACs** are multiply-accumulates / 10⁹ for one image of the declared size. Of a network that
sees tiles the gate counts, and limits, one tile; the report and the board have those of all tiles
of the mean test image. Of a network that takes images of any size (`mode: native`) it counts the
image whose padded area is nearest to the mean, and limits the largest. By the usual
formulas: {products}. Elementwise products ({elementwise}) are left out as papers do, up to a
fifth of that; beyond, all of them count, since a layer can be written in them. These count
nothing: {nothing}. An operator that is in no list, or a shape that stays unknown, makes the
number *not counted*, on the board and in every table, and never smaller. Both branches of an `If`
count. The number is worked out by the process that first loads the model; one that a model takes
over could report another.

## Rules

| code | demand | how people run into it | what to do |
| --- | --- | --- | --- |
{rules}

[Limits](limits.md) has the organiser's, which a challenge may change. Besides, a file may have
{fields} protobuf fields, and lists of any other kind end at {members} members. A node's name is
free: no runtime reads it.
"""


def _gate() -> str:
    def words(names: Iterable[str]) -> str:
        return ", ".join(f"`{name}`" for name in sorted(names))

    limits = GateLimits()
    rules = {**intake.SENTENCES, **{rule.code: rule.sentence for rule in RULES}}
    rules |= first_load.SENTENCES
    advice = yaml.safe_load((DOCS / "gate-advice.yaml").read_text("utf-8"))
    operators = [
        f"- {f'`{name}`' if name else 'ONNX'}: {words(each)}" for name, each in ALLOWED.items()
    ]
    return NOTE + GATE.format(
        operators="\n".join(operators),
        free=FREE_NUMBERS,
        products=words(PRODUCTS),
        elementwise=words(ELEMENTWISE),
        nothing=words(FREE),
        rules="\n".join(
            f"| `{code}` | {sentence} | {advice[code]['met']} | {advice[code]['cure']} |"
            for code, sentence in rules.items()
        ),
        fields=f"{limits.max_fields:,}",
        members=f"{MEMBERS:,}",
    )


LIMITS = """# Limits

What a submission may take. The organiser sets all of it in `challenge.yaml`, under `limits`; these
are the defaults, and `busbench limits --challenge challenge.yaml` shows those in force. What counts
for your track is in `bundle.json` of the training bundle, as `model`, and `busbench check --bundle`
shows it beside what it counts.

## Of an ONNX file: `limits.model`

| name | default | of | refused as | what to do |
| --- | --- | --- | --- | --- |
{model}

Each file counts by itself, also where there is one a fold. A [container image](images.md) has none
of these limits, and nothing of it is counted.

## Of a container: `limits.gate`, `limits.infer`, `limits.train`

| name | gate | infer, also of an image that predicts | train | over it |
| --- | --- | --- | --- | --- |
{stages}

`infer` is for all models of a submission, on all test images, plain and transformed.
"""
# name -> what it limits, and the code of the refusal
MODEL_LIMITS = {
    "megabytes": ("size of the file, in 10⁶ bytes", "G-FILE-SIZE"),
    "nodes": ("nodes, functions expanded", "G-NODES"),
    "parameters": ("values that are stored in it, whatever they are for", "G-PARAMETERS"),
    "gmacs": ("10⁹ multiply-accumulates for one image of the declared size", "G-COST"),
    "opset": ("the newest opset", "G-OPSET"),
}
STAGE_LIMITS = {
    "seconds": Code.LIMIT_TIME,
    "memory_mb": Code.LIMIT_MEMORY,
    "output_mb": Code.LIMIT_DISK,
    "output_files": Code.LIMIT_DISK,
    "pids": Code.LIMIT_PROCESSES,
    "cpus": None,
    "tmp_mb": None,
}


def _limits() -> str:
    limits = StageLimits()
    model = [
        f"| `{name}` | {getattr(limits.model, name):,} | {about} | `{code}` | {CURES[name]}. |"
        for name, (about, code) in MODEL_LIMITS.items()
    ]
    kinds = (limits.gate, limits.infer, limits.train)
    stages = []
    for name, code in STAGE_LIMITS.items():
        numbers = " | ".join(f"{getattr(kind, name):,g}" for kind in kinds)
        over = f"`{code}`" if code else "it waits, or its write fails"
        stages.append(f"| `{name}` | {numbers} | {over} |")
    return NOTE + LIMITS.format(model="\n".join(model), stages="\n".join(stages))


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
