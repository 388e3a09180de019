"""The reference of the command line: no default, example or demand of a verb is lost or garbled."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from harness.cli import app
from tests.support import ROOT

PAGE = (ROOT / "docs" / "cli.md").read_text("utf-8")
ROW = re.compile(r"^\| `([^`]+)` \| (.*?) ?\| (.+) \|$", re.MULTILINE)


def every_verb(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """(name, command) of all that can be run."""
    below = getattr(command, "commands", {})
    for word, inner in below.items():
        yield from every_verb(inner, f"{name} {word}".strip())
    if not below:
        yield name, command


VERBS = dict(every_verb(typer.main.get_command(app)))


def section(verb: str) -> str:
    return PAGE.partition(f"\n### {verb}\n")[2].partition("\n##")[0]


def stated(parameter: Any) -> str:
    """What the page has to say of a default, from the command itself."""
    if parameter.required:
        return "*needed*"
    if isinstance(parameter.show_default, str):
        return str(parameter.show_default)
    return str(parameter.default)


@pytest.mark.parametrize("verb", VERBS)
def test_no_default_and_no_demand_of_a_verb_is_garbled(verb: str) -> None:
    rows = ROW.findall(section(verb))
    for parameter, (_, shown, _) in zip(VERBS[verb].params, rows, strict=True):
        named = isinstance(parameter.show_default, str)
        is_shown = named or (parameter.show_default and parameter.default not in (None, False))
        if parameter.required or (is_shown and not getattr(parameter, "is_flag", False)):
            assert shown.strip("`") == stated(parameter), parameter.name


@pytest.mark.parametrize("verb", VERBS)
def test_no_example_of_a_verb_is_joined_with_another(verb: str) -> None:
    assert VERBS[verb].help.count("Example: ") == len(
        re.findall(rf"^busbench {verb} (?!\[OPTIONS)", section(verb), re.MULTILINE)
    )


def test_no_range_of_numbers_is_written_as_a_program_does() -> None:
    assert re.findall(r"\w+ range>|x[<>]=|<=x", PAGE) == []
    assert "1 to 8." in section("seal") and "1 or more." in section("prepare")
