"""Observation of `--json`: whatever a verb prints in a test is compared with the verb's schema."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace

from jsonschema import Draft202012Validator

from tests.support import ROOT

# Newer releases of Typer contain what they took from Click.
CLICK = "typer._click.globals" if find_spec("typer._click") else "click.globals"
SCHEMAS = ROOT / "docs" / "schemas"


@cache
def validator(verb: str) -> Draft202012Validator:
    """The check of what a verb prints, from the documentation."""
    text = (SCHEMAS / f"output-{verb.replace(' ', '-')}.json").read_text("utf-8")
    return Draft202012Validator(json.loads(text))


def require_declared(verb: str, text: str) -> None:
    """Fail where a verb's JSON is not what the documentation says."""
    for error in validator(verb).iter_errors(json.loads(text)):
        deepest = min(error.context or [error], key=lambda each: len(each.path) * -1)
        place = "/".join(map(str, deepest.absolute_path))
        raise AssertionError(f"`{verb} --json` at {place or 'the top'}: {deepest.message[:500]}")


def checked(dumps: Callable[..., str]) -> SimpleNamespace:
    """The module `json` for the terminal, whose every document is checked before it is printed."""

    def dump(value: object, **options: object) -> str:
        text = dumps(value, **options)
        context = import_module(CLICK).get_current_context(silent=True)
        verb = "error" if context is None else context.command_path.partition(" ")[2]
        require_declared(verb, text)
        return text

    return SimpleNamespace(dumps=dump)
