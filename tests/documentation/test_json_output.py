"""`--json` prints what its schema says: every verb has one, and nothing undeclared passes it.

What verbs print in all other tests is compared with these schemas too, see `tests/support`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from harness.cli import app
from tests.support.command_line import busbench_in
from tests.support.json_output import SCHEMAS, checked, require_declared


def with_json(command: Any, name: str = "") -> Iterator[str]:
    """The verbs that have `--json`."""
    for below, inner in getattr(command, "commands", {}).items():
        yield from with_json(inner, f"{name} {below}".strip())
    if any("--json" in parameter.opts for parameter in command.params):
        yield name


def test_no_verb_with_json_lacks_its_schema() -> None:
    verbs = set(with_json(typer.main.get_command(app)))
    described = {path.stem.removeprefix("output-") for path in SCHEMAS.glob("output-*.json")}
    assert len(verbs) > 20
    assert {verb.replace(" ", "-") for verb in verbs} | {"error"} == described


@pytest.mark.parametrize(("verb", "inside"), [("limits", None), ("errors", "usage")])
def test_no_undeclared_key_and_no_missing_one_passes(
    verb: str, inside: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = json.loads(busbench_in(capsys, verb, "--json").out)
    require_declared(verb, json.dumps(printed))
    inner = printed if inside is None else printed[inside]
    taken = inner.popitem()
    with pytest.raises(AssertionError, match=verb):
        require_declared(verb, json.dumps(printed))
    inner.update([taken, ("undeclared", 1)])
    with pytest.raises(AssertionError, match="undeclared"):
        require_declared(verb, json.dumps(printed))


def test_no_document_is_printed_unseen() -> None:
    with pytest.raises(AssertionError, match="error --json"):
        checked(json.dumps).dumps({"problem": "not an error's shape"})
