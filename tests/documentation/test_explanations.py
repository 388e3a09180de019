"""Each number that a board, a table or a page shows has its section, in short and in full."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape
from pathlib import Path

import pytest

from evaluator.metrics import METRICS
from evaluator.metrics.secondary import SECONDARY
from harness.ranking import names
from harness.ranking.across import blocks
from harness.ranking.columns import _KINDS, NAMED, columns
from harness.ranking.metrics import BY_KEY, COSTS
from harness.sealing.keys import Keys
from harness.website.edition import Edition
from harness.website.pages import site as pages
from harness.website.pages.site import render
from harness.website.plots.of_track import KINDS
from harness.website.plots.shown import Shown
from tests.support import ROOT
from tests.support.simulated import ENTRANTS, simulate
from tests.support.website import edition_of

PAGES = [ROOT / "docs" / name for name in ("methods.md", "ranking.md")]
SECTION = re.compile(
    r"^### ([^\n]+)\n\n([^\n]+)\n\n(- \*In short\.\*.*?)(?=\n\n|\Z)", re.MULTILINE | re.DOTALL
)
# Heads of columns and of facts whose cells are no numbers to explain.
WORDS = {
    *("Method", "Team", "Trained on", "Origin", "Date", "Images", "Number", "Split"),
    *(
        "Metric profile",
        "Description",
        "Authors",
        "Licence",
        "External data",
        "Pretrained weights",
        "Links",
    ),
    *("Fold", "Opset", "Nodes", "SHA-256 of the ONNX file"),
    *("Ledger entry", "Submission", "Frozen split", "Sealed images", "Sealed labels"),
    *("Predictions", "Trained in image", "Runner", "Backend", "Device"),
}


@dataclass(frozen=True)
class Section:
    """The explanation of one number."""

    title: str
    shown: str  # where, by which names
    short: str
    full: str

    @property
    def names(self) -> set[str]:
        """By which `--columns` knows it."""
        return set(re.findall(r"`([^`]+)`", self.shown))

    @property
    def heads(self) -> list[str]:
        """What is above it, in words; `…` is any."""
        return [self.title, *re.findall(r"\*([^*]+)\*", self.shown)]


def sections() -> list[Section]:
    found = []
    for page in PAGES:
        for title, shown, text in SECTION.findall(page.read_text("utf-8")):
            short, _, full = text.partition("\n- *In full.*")
            found.append(Section(title, shown, short.removeprefix("- *In short.*"), full))
    return found


@pytest.fixture(scope="module")
def edition(tmp_path_factory: pytest.TempPathFactory) -> Edition:
    folder = tmp_path_factory.mktemp("explained")
    keys = Keys.new(folder / "keys")
    simulate(keys, folder / "ledger.jsonl", ENTRANTS[-3:], cases=15)
    return edition_of(keys, folder)


def unexplained(heads: list[str]) -> set[str]:
    """The heads that no section is about."""
    patterns = [
        re.compile(re.escape(head).replace("…", ".+"), re.IGNORECASE)
        for section in sections()
        for head in section.heads
    ]
    plain = {re.sub(r"\s*(\[[^]]*\]|\(\d[^)]*\)|[↑↓])", "", head) for head in heads}
    return {h for h in plain - WORDS if not any(p.fullmatch(h) for p in patterns)}


def heads_of(html: str) -> list[str]:
    """The heads of columns, of facts and of what a table is sorted by."""
    spans = re.findall(r"<span data-key[^>]*>(.*?)</span>", html, re.DOTALL)
    cells = re.findall(r'<th [^>]*scope="col"[^>]*>(.*?)</th>', html, re.DOTALL)
    facts = re.findall(r"<dt>(.*?)</dt>", html, re.DOTALL)
    found = [*spans, *(cell for cell in cells if "data-key" not in cell), *facts]
    texts = [unescape(re.sub(r"<[^>]+>", "", text)) for text in found]
    return [" ".join(text.split()) for text in texts if not text.startswith("Evaluator, ")]


def test_no_name_of_a_column_is_without_its_section() -> None:
    kinds = {f"{kind}:METRIC" for kind in _KINDS if kind}
    wanted = {*BY_KEY, *NAMED, *kinds, "METRIC@GROUP", "interval:METRIC@GROUP"}
    explained = set().union(*(section.names for section in sections()))
    assert wanted - explained == set()
    listed = PAGES[1].read_text("utf-8").partition("| name | what |")[2].partition("\n\n")[0]
    assert {*BY_KEY, *NAMED} - set(re.findall(r"`([^`]+)`", listed)) == set()


def test_no_head_of_a_table_is_without_its_section(edition: Edition) -> None:
    track = edition.board.tracks[0]
    shown = Shown(track, track.ranked, 30)
    heads = [column.head for column in columns(track)]
    heads += [
        head
        for kind in KINDS
        if kind.table and kind.name != "parts"
        for head in kind.table(shown)[0][1:]
    ]
    heads += [cell for block in blocks(edition.board, names.plain) for cell in block.cells[0]]
    heads += [metric.title for metric in METRICS.values()]
    heads += [number.title for number in SECONDARY.values()]
    heads += [cost.title for cost in COSTS]
    assert len(heads) > 50
    assert unexplained(heads) == set()
    assert unexplained(["Dice ↑", "Surprise [mm] ↓"]) == {"Surprise"}


@pytest.mark.parametrize("start", ["submissions/", "tracks/"])
def test_no_number_of_a_page_is_without_its_section(
    edition: Edition, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "plots", lambda track: iter(()))  # their tables are above
    html = next(
        d for n, d in render(edition).items() if n.startswith(start) and Path(n).suffix == ".html"
    )
    main = html.decode().partition("<main")[2]
    if start == "tracks/":
        main = main.partition('id="about-table"')[0]
    heads = heads_of(main)
    assert len(heads) > 10
    assert unexplained(heads) == set()


def test_no_number_is_explained_at_length_only_or_in_more_than_three_sentences() -> None:
    found = sections()
    assert len(found) > 35
    assert len({section.title for section in found}) == len(found)
    for section in found:
        sentences = re.findall(r"[.!?](?=\s|$)", section.short.strip())
        assert 1 <= len(sentences) <= 3, section.title
        assert section.full.strip(), section.title
