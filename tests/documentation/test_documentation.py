"""The documentation says what is so: its commands run, its links hold, its tables follow."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import docker
import pytest
import typer
from playwright.sync_api import Browser

from harness.cli import app
from tests.support import ROOT
from tests.support.page_commands import BLOCK, commands_of, run_shown

pytestmark = pytest.mark.slow

DOCS = ROOT / "docs"
# The three guides are one story; the organisers' goes on when a submission has arrived.
LATER = "## When submissions arrive"


def story() -> list[tuple[str, str, str]]:
    """(language, title, text) of every block of the guides, in the order of what happens."""
    text = {page.stem: page.read_text() for page in DOCS.glob("*.md")}
    first, _, later = text["organiser"].partition(LATER)
    return BLOCK.findall("\n".join((first, text["participant"], later, text["reviewer"])))


@pytest.mark.docker
@pytest.mark.slow
def test_no_command_of_the_guides_fails(engine: docker.DockerClient, tmp_path: Path) -> None:
    run = 0
    for language, title, text in story():
        if title:
            (tmp_path / title).write_text(text)
        for shown in commands_of(text) if language == "console" else []:
            run_shown(shown.command, tmp_path)
            run += 1
    assert run >= 15
    assert (tmp_path / "site" / "index.html").exists()


def written_commands() -> list[tuple[str, str]]:
    """(page, command) of every `busbench …` that a page or a verb's help shows."""
    pages = {page.name: page.read_text() for page in (*DOCS.glob("*.md"), ROOT / "README.md")}
    pages |= {path.name: path.read_text() for path in (ROOT / "harness" / "cli").glob("*.py")}
    found = []
    for name, text in pages.items():
        joined = re.sub(r"\\\n\s*", " ", text)
        lines = re.findall(r"^(?:\$ |\s*Example: )?(busbench [a-z].*)$", joined, re.MULTILINE)
        inline = re.findall(r"`(busbench [^`]+)`", joined)
        found += [(name, command) for command in (*lines, *inline)]
    return found


def unknown_words(busbench: Any, text: str) -> list[str]:
    """The verbs and options in a command that the command line does not have."""
    command, unknown = busbench, []
    for word in re.sub(r'"[^"]*"|[|#>;].*', "", text).split()[1:]:
        verbs = getattr(command, "commands", {})  # of a group of verbs
        options = {"--help", "--"}.union(*([*p.opts, *p.secondary_opts] for p in command.params))
        if word.startswith("--"):
            unknown += [] if word.rstrip(".,:)") in options else [word]
        elif verbs and word not in verbs:
            return [*unknown, word]
        elif verbs:
            command = verbs[word]
    return unknown


def test_no_page_shows_a_verb_or_an_option_that_does_not_exist() -> None:
    commands, busbench = written_commands(), typer.main.get_command(app)
    assert len(commands) > 100
    wrong = {(page, text): unknown_words(busbench, text) for page, text in commands}
    assert {place: words for place, words in wrong.items() if words} == {}
    assert unknown_words(busbench, "busbench rank x --case y") == ["--case"]
    assert unknown_words(busbench, "busbench splits check x") == ["check"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documentation as a site, built as `make docs` does."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_no_page_asks_another_host(site: Path) -> None:
    asks = re.compile(r'<(?:script|img|iframe)[^>]* src="(?:https?:)?//|<link[^>]* href="https?://')
    pages = list(site.glob("*.html"))
    assert len(pages) > 20
    assert not [page.name for page in pages if asks.search(page.read_text())]


def test_the_documentation_has_the_example_board_that_its_page_links(site: Path) -> None:
    (linked,) = {*re.findall(r'href="(example-board/.+?)"', (site / "results.html").read_text())}
    assert "example board" in (site / linked).read_text()
    assert list((site / linked).parent.glob("tracks/*.html"))


def test_no_search_is_without_results_where_pages_are_opened_from_files(
    site: Path, browser: Browser
) -> None:
    page, asked, wrong = browser.new_page(), list[str](), list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.goto((site / "index.html").as_uri())
    page.locator("[data-md-component=search-query]").click()
    page.keyboard.type("empty mask")  # it listens to keys
    found = page.locator(".md-search-result__link")
    found.first.wait_for()
    assert any("methods.html" in str(link.get_attribute("href")) for link in found.all())
    assert wrong == [] and not [url for url in asked if not url.startswith(("file:", "data:"))]
    page.close()


def test_generated_pages_are_not_older_than_the_code() -> None:
    done = subprocess.run(
        [sys.executable, DOCS / "generate.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_page_is_in_the_navigation() -> None:
    listed = set(re.findall(r": ([\w-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert listed == {page.name for page in DOCS.glob("*.md")}
