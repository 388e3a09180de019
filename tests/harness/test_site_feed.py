"""The feed is Atom as RFC 4287 has it, and dates nothing but what the ledger dates."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import datetime
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import feedparser
import pytest

from harness.ledger import Retraction, append, rotate, sign, verify_ledger
from harness.sealing.keys import Keys
from harness.website.edition import Edition
from harness.website.pages.feeds import ENTRIES, feeds
from tests.support.factories import TIME, make_report
from tests.support.website import HOSTILE

ATOM = "{http://www.w3.org/2005/Atom}"
DAYS = [f"2026-11-{day:02}T12:00:00Z" for day in range(1, 31)]


def feed_of(ledger: Path) -> bytes:
    return dict(feeds(Edition.of(verify_ledger(ledger), ledger.read_bytes())))["feed.xml"]


def fill(ledger: Path, keys: Keys, *methods: str) -> list[str]:
    """Reports on the first days of the month; the digests of their entries."""
    return [
        append(
            ledger, sign(make_report(f"of {name}", name), keys), keys, clock=partial(str, day)
        ).entry.digest
        for name, day in zip(methods, DAYS, strict=False)
    ]


def demand_atom(data: bytes) -> ET.Element:
    """What RFC 4287 says must be, and how often (sections 3.1 to 4.2)."""
    feed = ET.fromstring(data)
    assert feed.tag == f"{ATOM}feed"
    entries = feed.findall(f"{ATOM}entry")
    for element in (feed, *entries):
        count = {
            name: len(element.findall(ATOM + name))
            for name in ("id", "title", "updated", "published", "summary", "author")
        }
        assert (count["id"], count["title"], count["updated"], count["author"]) == (1, 1, 1, 1)
        assert count["published"] <= 1 and count["summary"] <= 1
        assert all(author.findtext(f"{ATOM}name") for author in element.findall(f"{ATOM}author"))
        assert urlsplit(element.findtext(f"{ATOM}id") or "").scheme == "urn"
        links = [link.attrib for link in element.findall(f"{ATOM}link")]
        assert all(link["href"] for link in links)
        assert [link["rel"] for link in links].count("alternate") == 1
        for name in ("updated", "published"):
            for found in element.findall(ATOM + name):
                assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", found.text or "")
                assert datetime.fromisoformat(found.text or "").tzinfo is not None
    ids = [element.findtext(f"{ATOM}id") for element in (feed, *entries)]
    assert len(set(ids)) == len(ids)
    return feed


def test_the_feed_is_valid_atom_and_a_reader_understands_it(keys: Keys, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    digests = fill(ledger, keys, "first", "second")
    demand_atom(feed_of(ledger))
    found = feedparser.parse(feed_of(ledger))
    assert (found.bozo, found.version) == (False, "atom10")
    assert found.feed.updated == DAYS[1]
    assert [entry.title for entry in found.entries] == [
        "second by of second on busbra",
        "first by of first on busbra",
    ]
    assert [entry.id.rpartition(":")[2] for entry in found.entries] == digests[::-1]
    assert [entry.published for entry in found.entries] == DAYS[1::-1]
    assert [entry.author for entry in found.entries] == ["of second", "of first"]
    assert found.entries[0].link == "submissions/2.html"


def test_a_retraction_comes_first_and_is_an_update_of_what_it_retracts(
    keys: Keys, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    first, _ = fill(ledger, keys, "first", "second")
    before = feedparser.parse(feed_of(ledger)).entries[-1]
    append(ledger, Retraction(entry=first, reason="Trained on it."), keys, clock=lambda: DAYS[9])
    demand_atom(feed_of(ledger))
    found = feedparser.parse(feed_of(ledger))
    assert found.feed.updated == DAYS[9]
    changed = found.entries[0]
    assert (changed.id, changed.published, changed.updated) == (before.id, DAYS[0], DAYS[9])
    assert changed.summary == "Retracted: Trained on it."


def test_the_feed_keeps_its_id_when_the_key_changes(
    keys: Keys, other_keys: Keys, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    fill(ledger, keys, "first")
    before = feedparser.parse(feed_of(ledger)).feed.id
    rotate(ledger, keys, other_keys, clock=lambda: DAYS[9])
    assert feedparser.parse(feed_of(ledger)).feed.id == before


def test_a_long_ledger_has_a_short_feed_of_its_newest_results(keys: Keys, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    append(ledger, sign(make_report(), keys), keys, clock=lambda: TIME)
    edition = Edition.of(verify_ledger(ledger), ledger.read_bytes())
    (one,) = edition.reports
    many = tuple(type(one)(n, f"{n:064x}", TIME, one.load) for n in range(1, ENTRIES + 6))
    crowded = Edition(edition.board, edition.ledger, many)
    entries = demand_atom(dict(feeds(crowded))["feed.xml"]).findall(f"{ATOM}entry")
    links = [str(entry.find(f"{ATOM}link").attrib["href"]) for entry in entries]  # type: ignore[union-attr]
    assert links == [f"submissions/{n}.html" for n in range(ENTRIES + 5, 5, -1)]


@pytest.mark.parametrize("name", [*HOSTILE, "\ufffe\uffff", "\u202e"])
def test_no_name_makes_the_feed_invalid(keys: Keys, tmp_path: Path, name: str) -> None:
    ledger = tmp_path / "ledger.jsonl"
    append(ledger, sign(make_report(name, name), keys), keys, clock=lambda: TIME)
    demand_atom(feed_of(ledger))
    assert not feedparser.parse(feed_of(ledger)).bozo


def test_a_gap_unlike_the_others_is_not_left_out_of_feed_and_badge(
    keys: Keys, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    for number, gap in enumerate((0.02, 0.021, 0.019, 0.21)):
        append(ledger, sign(make_report(method=f"m{number}", gap=gap), keys), keys)
    files = dict(feeds(Edition.of(verify_ledger(ledger), ledger.read_bytes())))
    marked = [n for n in range(1, 5) if b"gap unlike the others" in files[f"badges/{n}.svg"]]
    assert marked == [4]
    found = feedparser.parse(files["feed.xml"]).entries
    summaries = [entry.title for entry in found if "gap unlike the others" in entry.summary]
    assert summaries == ["m3 by reference on busbra"]


def test_no_final_passes_for_the_test_part_in_feed_and_badge(keys: Keys, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    report = make_report()
    for one in (report, report.model_copy(update={"part": "final"})):
        append(ledger, sign(one, keys), keys)
    files = dict(feeds(Edition.of(verify_ledger(ledger), ledger.read_bytes())))
    titles = [one["title"] for one in feedparser.parse(files["feed.xml"]).entries]
    assert titles == [f"cmunext by reference on busbra{end}" for end in (", final", "")]
    assert [b", final" in files[f"badges/{number}.svg"] for number in (1, 2)] == [False, True]
