"""Plain words: statements open each module, and terms that were replaced do not come back."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

PACKAGES = ("harness", "evaluator", "reference_models", "benchmarks", "ci", "tests", "containers")
TEXT = (".py", ".j2", ".html", ".js", ".yaml", ".yml", ".toml", ".sh", ".md")
QUESTION = re.compile(
    r"(Which|What|How|Who|Whose|Whom|Does|Do|Did|May|Might|Is|Are|Was|Were|In which|Under which"
    r"|Where|Why|When|Can|Could|Will|Would|Has|Have|Should)\b"
)

# Terms that have a word of the field instead; of an identifier each part counts.
REPLACED = re.compile(
    r"(?<![a-z])("
    r"lanes?|ways? in|rooms?|keepers?|notices?|books?|trained[ -]by|mend(?:ed|s|ing)?|holes"
    r"|standings?|pictures?|gallery|blanks|told|stands|lets? go of|comes? to its end"
    r"|seed augment|the seed(?:'s)? (?:benchmark|profile|protocol|split|authors)"
    r"|moved (?:images?|copies|cases?)"
    r")(?![a-z])"
)
CLASSES = re.compile(
    r"^class (Asked|Wanted|Facts|Ground|Place|Pace|Book|Notice|Standing|Standings|Site)\b",
    re.MULTILINE,
)
# The list itself, and where a word has another meaning.
ALLOWED = {
    "tests/documentation/test_words.py": None,
    "tests/documentation/test_front_door.py": None,
    "tests/support/simulated.py": {"notice"},
    "harness/website/templates/track.html.j2": {"picture"},  # an element of HTML
    "harness/website/templates/figures.html.j2": {"picture"},
}


def modules(package: str) -> Iterator[Path]:
    """The Python files of a package, without what is generated."""
    return (path for path in (ROOT / package).rglob("*.py") if "__pycache__" not in path.parts)


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def asks(docstring: str) -> bool:
    """Whether a docstring opens with a question, or with the words of one."""
    first = docstring.strip().split("\n\n")[0]
    return "?" in first or QUESTION.match(first) is not None


def replaced_in(path: Path) -> set[str]:
    """The replaced terms that a file's text, comments or identifiers contain."""
    text = path.read_text("utf-8")
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", text).lower()
    found = {match[1] for match in REPLACED.finditer(split)}
    found |= {match[1] for match in CLASSES.finditer(text)}
    allowed = ALLOWED.get(name_of(path), set())
    return set() if allowed is None else found - allowed


@pytest.mark.parametrize("package", [*PACKAGES, "submission_template", "docs"])
def test_no_module_opens_with_a_question(package: str) -> None:
    asking = {
        name_of(path): docstring.splitlines()[0]
        for path in modules(package)
        if (docstring := ast.get_docstring(ast.parse(path.read_text("utf-8")))) and asks(docstring)
    }
    assert asking == {}


@pytest.mark.parametrize("package", [*PACKAGES, "submission_template", "docs"])
def test_no_replaced_term_comes_back(package: str) -> None:
    found = {
        name_of(path): sorted(terms)
        for path in sorted((ROOT / package).rglob("*"))
        if path.suffix in TEXT and path.is_file() and (terms := replaced_in(path))
    }
    assert found == {}


def test_the_search_finds_terms_in_prose_and_in_identifiers() -> None:
    assert REPLACED.search("a room of one's own") and not REPLACED.search("a mushroom")
    assert asks("Which jobs make a benchmark? These.") and not asks("Jobs of a benchmark.")
    assert asks("What a rule is given.") and not asks("Howls of a wolf.")
