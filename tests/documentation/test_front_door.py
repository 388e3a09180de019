"""Pages for contributors: no path, link, layer or term in them is out of date."""

from __future__ import annotations

import re
import tomllib
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
FRONT = (
    ROOT / "CONTRIBUTING.md",
    DOCS / "architecture.md",
    *sorted(DOCS.glob("add-a-*.md")),
)
TOP = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
TESTS = ROOT / ".github" / "workflows" / "tests.yml"
# The folders of the repository whose paths a page may name.
FOLDERS = "harness|evaluator|reference_models|submission_template|ci|tests|containers|benchmarks"
PATH = re.compile(rf"`((?:{FOLDERS}|docs|splits)/[\w./*-]*)`")
# Words that the glossary replaced, outside of code blocks.
REPLACED = re.compile(
    r"\b(lanes?|rooms?|keepers?|notices?|trained-by|mend(?:ed|s|ing)?|holes|gallery|standings"
    r"|pictures?|blanks|told|stands|the seed('s)?(?= (?:profile|benchmark|split)))\b|`seed`",
    re.IGNORECASE,
)
FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """The text of a page without its code blocks."""
    return FENCE.sub("", page.read_text("utf-8"))


@pytest.mark.parametrize("page", FRONT, ids=lambda page: page.name)
def test_no_page_names_a_file_that_is_not_there(page: Path) -> None:
    named = [path for path in PATH.findall(prose(page)) if "NAME" not in path]
    made_by_the_reader = {"harness/datasets/my_dataset.py"}
    missing = [path for path in named if not any(ROOT.glob(path.rstrip("/")))]
    assert named and set(missing) <= made_by_the_reader


@pytest.mark.parametrize("name", TOP)
def test_no_link_at_the_top_of_the_repository_is_broken(name: str) -> None:
    targets = re.findall(r"\]\(([^)#:]+)(?:#[\w-]+)?\)", prose(ROOT / name))
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_every_folder_of_the_harness_has_its_layer_in_the_architecture() -> None:
    rows = re.findall(r"^\| [\w ]+ \| (.+?) \|", layers_section(), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    folders = {path.parent.name for path in (ROOT / "harness").glob("*/__init__.py")}
    assert folders - named == set()


def layers_section() -> str:
    text = (DOCS / "architecture.md").read_text("utf-8")
    return text.partition("## Layers")[2].partition("## Decisions")[0]


def test_the_order_in_the_architecture_is_the_one_that_is_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    layers = [c["layers"] for c in contracts["contracts"] if c["type"] == "layers"]
    place = {
        name: number
        for number, row in enumerate(re.findall(r"^\| [\w ]+ \| (`.+?) \|", layers_section(), re.M))
        for name in re.findall(r"`(\w+)`", row)
    }
    compared = 0
    for contract in layers:
        checked = [re.findall(r"(\w+)(?= *(?:[|:)]|$))", layer) for layer in contract]
        for above, below in pairwise([[n for n in names if n in place] for names in checked]):
            for upper in above:
                assert all(place[upper] < place[lower] for lower in below), (upper, below)
                compared += len(below)
    assert compared > 10


def test_the_drawing_is_well_formed_and_asks_no_other_host() -> None:
    text = (DOCS / "architecture.svg").read_text("utf-8")
    root = ElementTree.fromstring(text)
    assert root.find("{http://www.w3.org/2000/svg}title") is not None
    assert re.findall(r"(?:href|src|url)\s*[=(]\s*[\"']?(?!#)", text) == []
    assert "prefers-color-scheme: dark" in text


def test_no_badge_of_the_readme_says_anything_but_what_is_so() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    badges = re.findall(r"^\[!\[([^\]]+)\]\((docs/assets/badge-\w+\.svg)\)\]", text, re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    said = dict(alt.split(": ") for alt, _ in badges)
    assert said["licence"] == project["license"]
    assert f">={said['Python'].removesuffix(' or newer')}" == project["requires-python"]
    assert said["docs"] == f"of version {project['version']}"
    assert said["tests"] == "on every push and pull request"
    assert re.findall(r"^  (push|pull_request):", TESTS.read_text("utf-8"), re.MULTILINE) == [
        "push",
        "pull_request",
    ]
    for alt, file in badges:
        drawing = (ROOT / file).read_text("utf-8")
        assert ElementTree.fromstring(drawing).get("aria-label") == alt
        assert not re.search(r"href|url\(|@import", drawing)


def test_the_readme_is_no_longer_than_can_be_read_at_once() -> None:
    text = re.sub(r"\]\([^)]*\)", "]", (ROOT / "README.md").read_text("utf-8"))
    assert len([word for word in text.split() if re.search(r"\w", word)]) < 900


@pytest.mark.parametrize("name", TOP)
def test_no_page_at_the_top_uses_a_word_that_the_glossary_replaced(name: str) -> None:
    """Those of `docs` are looked at by test_words.py."""
    old_names = r"`seed`, its old name|\(was `[^`]+`\)"  # which the changelog has to state
    text = re.sub(old_names, "", prose(ROOT / name))
    assert [match[0] for match in REPLACED.finditer(text)] == []


def test_the_glossary_names_no_term_twice() -> None:
    terms = re.findall(r"^\| (?!term |---)([^|]+) \|", (DOCS / "glossary.md").read_text(), re.M)
    assert len(terms) > 80
    assert sorted(set(terms)) == sorted(terms)
