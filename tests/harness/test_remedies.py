"""Remedies: every file of the project that a message sends people to is there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support import ROOT

PACKAGES = ("harness", "evaluator", "reference_models", "ci")
# A file of the project, named in a sentence; other paths are the user's.
FILE = re.compile(
    r"(?<![\w/])(?:docs|submission_template|containers|splits)/[\w./-]*\w\.(?:md|yaml|json)\b"
)


def strings(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_every_file_that_a_message_names_is_there() -> None:
    named = {
        (str(path.relative_to(ROOT)), file)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        for text in strings(path)
        for file in FILE.findall(text)
    }
    assert len(named) > 5
    assert {(module, file) for module, file in named if not (ROOT / file).is_file()} == set()
