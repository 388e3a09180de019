"""The reference of the command line, from the Typer app: usage, arguments, options, defaults."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import typer
from json_output import SCHEMAS, schema_file

from evaluator.errors import Fault
from harness.cli.audit import LEAKS
from harness.cli.main import BY_PERSON, app

ABOUT = """# Command line

Every verb with its usage, arguments, options and defaults, as its `--help` has them. The
[tour](tour.md) shows the main ones with their output. `-h` is `--help`; `busbench --version` prints
the version; `busbench --install-completion` makes Tab complete verbs and options.

## Exit status

| status | who has to act |
| ---: | --- |
| 0 | nobody: it is done |
{faults}
| {leaks} | nobody, or who made the split: `busbench audit --fail-on-leak` found a leak |
| 130, 143 | nobody: it was interrupted; the same command goes on |

A verb that compares (`verify`, `reproduce`, `splits verify`) ends with 20 where something differs.
[Error codes](errors.md) has every error by its status. With `--json` a verb prints one document for
scripts: [JSON output](json-output.md) has the schema of each.
"""
WHO = {
    Fault.USAGE: "you: the command line cannot be understood",
    Fault.SUBMISSION: "the participant: submission, model, training",
    Fault.ORGANISER: "the organiser: data, splits, keys, ledger",
    Fault.INFRASTRUCTURE: "whoever runs the machine; no quota is used",
}
# What Typer writes behind a meaning, such as `[default: (4); 1<=x<=8]` and `[x>=1; required]`.
MARK = re.compile(r"\s*\[((?:default: |required|x>|\S+<=x)[^\[\]]*)\]$")
RANGE = re.compile(r"x>=(?P<least>\S+)|(?P<low>\S+)<=x<=(?P<high>\S+)")
TYPES = {"int range": "int", "float range": "float", "Path": "path", "%Y-%m-%d": "date"}


class Verb(NamedTuple):
    """A command that can be run."""

    name: str  # with its group's, such as `ledger entries`
    command: Any


def verbs() -> Iterator[tuple[str, list[Verb]]]:
    """Who uses them -> every verb, in the order of `--help`."""
    root = typer.main.get_command(app)
    for person, names in BY_PERSON.items():
        yield person, [verb for name in names for verb in _inside(name, root.commands[name])]  # type: ignore[attr-defined]


def _inside(name: str, command: Any) -> Iterator[Verb]:
    for below, inner in getattr(command, "commands", {}).items():
        yield from _inside(f"{name} {below}", inner)
    if not hasattr(command, "commands"):
        yield Verb(name, command)


def cli_page() -> str:
    """The whole reference."""
    faults = "\n".join(f"| {int(fault)} | {who} |" for fault, who in WHO.items())
    lines = [ABOUT.format(faults=faults, leaks=LEAKS)]
    for person, found in verbs():
        lines.append(f"## {person}\n")
        for verb in found:
            lines += _verb(verb)
    return "\n".join(lines)


def _verb(verb: Verb) -> Iterator[str]:
    context = typer.Context(verb.command, info_name=f"busbench {verb.name}")
    paragraphs = (verb.command.help or "").split("\n\n")
    shows = [text for text in paragraphs if text.startswith("Example: ")]
    examples = [each for text in shows for each in re.split(r"(?:^|\n)Example: ", text)[1:]]
    yield f"### {verb.name}\n"
    yield "\n\n".join(text for text in paragraphs if text not in shows) + "\n"
    shown = [_joined(verb.command.get_usage(context)).removeprefix("Usage: ")]
    shown += ["", *map(_joined, examples)]
    yield "```text\n" + "\n".join(shown) + "\n```\n"
    rows = list(filter(None, (_row(each, context) for each in verb.command.get_params(context))))
    if rows:
        yield "| argument or option | default | meaning |\n| --- | --- | --- |"
        yield from rows
        yield ""
    if verb.name in SCHEMAS:
        yield f"`--json` prints [this](schemas/{schema_file(verb.name)}).\n"


def _joined(text: str) -> str:
    return re.sub(r"\s*\n\s*", " ", text)


def _row(parameter: Any, context: typer.Context) -> str | None:
    name, text = parameter.get_help_record(context)
    if name == "--help":
        return None
    default, found = "", MARK.search(text)
    if found is not None:
        text = text[: found.start()]
        for part in found[1].split("; "):
            if part == "required":
                default = "*needed*"
            elif part.startswith("default: "):
                value = part.removeprefix("default: ").removeprefix("(").removesuffix(")")
                default = value if " " in value else f"`{value}`"
            else:
                text += f" {_bounds(part)}"
    if not text:
        raise ValueError(f"{name} of {context.info_name} has no help")
    name = re.sub(r"<list\[(\w+)\]>", r"<\1> …", name)
    name = re.sub(r"<([^>]+)>", lambda kind: f"<{TYPES.get(kind[1], kind[1])}>", name)
    cells = (f"`{_joined(name)}`", default, _joined(text))
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _bounds(written: str) -> str:
    """A range of numbers for people: `1<=x<=8` is `1 to 8.`, `x>=1` is `1 or more.`."""
    found = RANGE.fullmatch(written)
    if found is None:
        raise ValueError(f"{written} is no range")
    return f"{found['least']} or more." if found["least"] else f"{found['low']} to {found['high']}."
