"""The home page: no question of a newcomer is without its answer, or leads nowhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown.extensions.toc import slugify
from pydantic import BaseModel

from evaluator.documents.submission import ImageSubmission, Submission
from harness.challenge import Challenge
from tests.support import ROOT

DOCS = ROOT / "docs"
ROW = re.compile(r"^\| ([^|]+) \| \[[^\]]+\]\(([^)#]*)#?([^)]*)\) \|$", re.MULTILINE)
# What a newcomer has to find within a minute: a word of the question, and one of its answer's first
# lines.
QUESTIONS = {
    "install": "pip install",
    "five minutes": "make demo",
    "hand in": "busbench check",
    "limits": "busbench limits",
    "takes and gives": "logits",
    "GPU": "--device cuda",
    "refused": "busbench check",
    "predictions": "overlays.html",
    "rank": "Dice",
    "HD95": "both empty",
    "own": "cases.csv",
    "datasets": "busbench fetch",
    "online": "busbench publish",
    "logo": "challenge.yaml",
    "cite": "CITATION.cff",
    "Python": "from evaluator.metrics import",
    "verify": "busbench verify",
    "Windows": "WSL 2",
}
FIRST_LINES = 16


def answers() -> dict[str, tuple[str, str]]:
    """Question -> page and anchor, from the table of the home page."""
    table = (DOCS / "index.md").read_text("utf-8").partition("## I want to …")[2].partition("\n## ")
    return {
        question: (page or "index.md", anchor) for question, page, anchor in ROW.findall(table[0])
    }


def first_lines(page: str, anchor: str) -> str:
    """What a reader sees first at a place: the page's first lines, or those below a heading."""
    lines = (DOCS / page).read_text("utf-8").splitlines()
    if not anchor:
        return "\n".join(lines[:FIRST_LINES])
    found = [
        number
        for number, line in enumerate(lines)
        if line.startswith("#") and slugify(line.lstrip("# "), "-") == anchor
    ]
    assert len(found) == 1, f"{page} has {len(found)} headings #{anchor}"
    return "\n".join(lines[found[0] : found[0] + FIRST_LINES])


@pytest.mark.parametrize(("word", "answer"), QUESTIONS.items(), ids=QUESTIONS)
def test_no_question_is_without_its_answer(word: str, answer: str) -> None:
    matching = {q: place for q, place in answers().items() if re.search(rf"\b{word}\b", q)}
    assert len(matching) == 1, matching
    assert answer in first_lines(*next(iter(matching.values())))


def test_no_question_of_the_home_page_is_forgotten_here() -> None:
    assert len(answers()) == len(QUESTIONS) == 18


def models_of(model: type[BaseModel]) -> set[type[BaseModel]]:
    """A model and all models inside it."""
    found = {model}
    for field in model.model_fields.values():
        for inner in parts(field.annotation):
            found |= models_of(inner) if inner not in found else set()
    return found


def parts(annotation: Any) -> set[type[BaseModel]]:
    """The models that an annotation is made of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return {each for part in getattr(annotation, "__args__", ()) for each in parts(part)}


@pytest.mark.parametrize("document", [Challenge, Submission, ImageSubmission])
def test_no_field_that_people_write_lacks_its_meaning(document: type[BaseModel]) -> None:
    lacking = [
        f"{model.__name__}.{name}"
        for model in models_of(document)
        for name, field in model.model_fields.items()
        if not (field.description or "").endswith(".")
    ]
    assert lacking == []


def test_the_citation_names_no_other_release() -> None:
    page = (DOCS / "cite.md").read_text("utf-8")
    stated = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    assert f"{{{stated['version']}}}" in page and stated["version"] == version
    assert f"{{{stated['date-released'][:4]}}}" in page
    wheels = re.findall(r"busbench-([\d.]+)-py3", Path(DOCS / "install.md").read_text("utf-8"))
    assert wheels == [version]
