"""The site tells the same story as the ledger, asks no other host for anything, and is whole."""

from __future__ import annotations

import posixpath
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import date
from itertools import accumulate
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from harness.challenge import Challenge, Limits, Phase, StageLimits, Track
from harness.datasets import ADAPTERS
from harness.ledger import Retraction, append, sign, verify_ledger, verify_report
from harness.ranking import Board
from harness.ranking.names import plain
from harness.ranking.tables import to_html, to_latex, to_markdown
from harness.sealing.keys import Keys
from harness.splits import FrozenSplit
from harness.splits.lock import SplitLock
from harness.website.edition import Edition
from harness.website.pages import site as pages
from harness.website.pages.citing import cite_board, cite_entry
from harness.website.pages.site import render
from tests.support import ROOT
from tests.support.factories import make_report
from tests.support.simulated import ENTRANTS, simulate
from tests.support.website import HOSTILE, Page, edition_of

OF_A_TRACK = [f"{name}.js" for name in ("parts", "columns", "compare", "past", "taking", "board")]
SCRIPTS = [
    {"src": name, "defer": None}
    for name in (*(f"../{name}" for name in OF_A_TRACK), "ledger.js", "check.js")
]
ATOM = "{http://www.w3.org/2005/Atom}"
SVG = "{http://www.w3.org/2000/svg}"
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)


@pytest.fixture(autouse=True)
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """No plots, which take a second a track, but for tests that ask for them: `drawn`."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(pages, "plots", lambda track: iter(()))


@pytest.fixture
def drawn() -> None:
    """Asks for plots."""


@pytest.fixture
def edition(keys: Keys, tmp_path: Path) -> Edition:
    return edition_of(
        keys,
        tmp_path,
        make_report(method="second", dice=0.7, hd95=30),
        make_report(method="winner", dice=0.8123, hd95=12.346, trained_here="sha256:x", gap=0.123),
        make_report(method="partial", dice=1.0, hd95=0.0, status="incomplete"),
        make_report(method="lone", track="phantom", labels="private", folds=1, half_width=None),
    )


@pytest.fixture(scope="module")
def simulated(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Edition:
    """A ledger with ranking."""
    folder = tmp_path_factory.mktemp("simulated")
    simulate(keys, folder / "ledger.jsonl", ENTRANTS[-4:], cases=40)
    return edition_of(keys, folder)


def page_of(edition: Edition, start: str = "tracks/busbra") -> Page:
    """The first page whose path starts so."""
    files = render(edition)
    return Page.of(next(data for name, data in files.items() if name.startswith(start)))


def html_pages(files: dict[str, bytes]) -> Iterator[tuple[str, Page]]:
    return ((name, Page.of(data)) for name, data in files.items() if name.endswith(".html"))


# --- what is asked of whom ---------------------------------------------------------------------


def test_every_page_has_the_strict_policy_and_no_inline_code(edition: Edition) -> None:
    for name, page in html_pages(render(edition)):
        policies = [a["content"] for t, a in page.elements if a.get("http-equiv")]
        assert policies == [POLICY], name
        for tag, attributes in page.elements:
            assert tag not in {"style", "iframe", "object", "embed", "form", "base"}, name
            assert tag != "script" or attributes in SCRIPTS
            assert "style" not in attributes
            assert not any(key.startswith("on") for key in attributes)


def test_every_link_is_relative_and_leads_to_a_file_and_a_place_in_it(
    edition: Edition, drawn: None
) -> None:
    files = render(edition)
    places = {
        name: [str(a["id"]) for _, a in page.elements if "id" in a]
        for name, page in html_pages(files)
    }
    for name, page in html_pages(files):
        assert len(set(places[name])) == len(places[name])
        own = [a for _, a in page.elements if "nofollow" not in str(a.get("rel"))]
        links = [a[k] for a in own for k in ("href", "src", "srcset") if k in a]
        for link in links:
            parts = urlsplit(str(link))
            assert not parts.scheme and not parts.netloc and not parts.path.startswith("/")
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), parts.path))
            target = name if not parts.path else target
            assert target in files, (name, link)
            assert not parts.fragment or parts.fragment in places[target], (name, link)


def test_the_style_sheet_and_the_script_ask_for_nothing(edition: Edition) -> None:
    files = render(edition)
    assert b"url(" not in files["style.css"] and b"@import" not in files["style.css"]
    for forbidden in (b"fetch", b"XMLHttp", b"innerHTML", b"eval(", b"http"):
        assert all(forbidden not in files[name] for name in OF_A_TRACK)


# --- names that participants chose -------------------------------------------------------------


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_text(keys: Keys, tmp_path: Path, name: str) -> None:
    harmless = render(edition_of(keys, tmp_path / "a", make_report("team", "method")))
    hostile = render(edition_of(keys, tmp_path / "b", make_report(name, name)))
    for file in ("index.html", "submissions/1.html", *(n for n in harmless if "tracks/" in n)):
        page = Page.of(hostile[file])
        assert [t for t, _ in page.elements] == [t for t, _ in Page.of(harmless[file]).elements]
        assert plain(name) in "".join(page.text)
        assert "\u202e" not in hostile[file].decode()
    feed = ET.fromstring(hostile["feed.xml"])
    assert plain(name).strip() in [element.text for element in feed.iter(f"{ATOM}name")]


def test_a_name_too_long_for_a_report_would_be_harmless_too(keys: Keys, tmp_path: Path) -> None:
    """No report holds one, see `Title`; the page does not count on it."""
    edition = edition_of(keys, tmp_path, make_report())
    (track,) = edition.board.tracks
    row = track.rows[0].model_copy(update={"method": "<b>" + "y" * 10_000})
    tracks = (track.model_copy(update={"rows": (row,)}),)
    board = edition.board.model_copy(update={"tracks": tracks})
    page = page_of(Edition(board, edition.ledger, edition.reports))
    assert plain("<b>" + "y" * 10_000) in page.text


# --- what challenge.yaml says ------------------------------------------------------------------


def declared(folder: Path, keys: Keys, **words: str | None) -> dict[str, bytes]:
    """The site of one result under a challenge that says so of itself, and of its track."""
    track_title = words.pop("track_title", None)
    track = Track(title=track_title, dataset="busbra", split_version="v1")
    ledger = folder / "ledger.jsonl"
    append(ledger, sign(make_report(), keys), keys)
    challenge = Challenge(tracks={"busbra": track}, **words)
    verdict = verify_ledger(ledger)
    return render(Edition.of(verdict, ledger.read_bytes(), challenge=challenge))


def test_what_the_organiser_says_is_where_people_look(keys: Keys, tmp_path: Path) -> None:
    files = declared(
        tmp_path,
        keys,
        title="Lesions 2026",
        organiser="Example Hospital",
        contact="who@example.org",
        description="One paragraph.\n\nAnother one.",
        rules="https://example.org/rules",
        track_title="BUS-BRA, patients",
    )
    for name, page in html_pages(files):
        assert page.text[0].endswith("Lesions 2026") or name == "index.html"
        assert page.text[2] == "Lesions 2026", name  # in the header
        assert {"Example Hospital", "who@example.org"} <= set(page.text), name
        assert "BUSBench" not in page.text, name
    index = Page.of(files["index.html"])
    assert {"One paragraph.", "Another one.", "BUS-BRA, patients"} <= set(index.text)
    about = Page.of(files["about.html"])
    assert {"One paragraph.", "Rules", "Organiser", "Contact"} <= set(about.text)
    targets = {attributes.get("href") for tag, attributes in about.elements if tag == "a"}
    assert {"https://example.org/rules", "mailto:who@example.org"} <= targets
    track = next(Page.of(data) for name, data in files.items() if name.startswith("tracks/"))
    assert {"BUS-BRA, patients", "busbra"} <= set(track.text)
    feed = ET.fromstring(files["feed.xml"])
    assert feed.findtext(f"{ATOM}title") == "Lesions 2026: new results"
    assert feed.findtext(f"{ATOM}author/{ATOM}name") == "Example Hospital"
    assert feed.findtext(f"{ATOM}entry/{ATOM}title") == "cmunext by reference on BUS-BRA, patients"
    assert b"Lesions 2026: busbra" in files["badges/1.svg"]
    board = Board.model_validate_json(files["board.json"])
    assert (board.challenge.title, board.challenge.rules) == (
        "Lesions 2026",
        "https://example.org/rules",
    )
    assert board.tracks[0].title == "BUS-BRA, patients"


def test_no_two_profile_versions_look_alike_on_the_first_page(keys: Keys, tmp_path: Path) -> None:
    reports = [make_report(method=v, metric_profile=f"native@{v}") for v in "12"]
    files = render(edition_of(keys, tmp_path, *reports))
    index = Page.of(files["index.html"])
    titles = [
        view.metric_profile.title for view in Board.model_validate_json(files["board.json"]).tracks
    ]
    assert len({*titles}) == 2
    for title in titles:
        assert sum(title in text for text in index.text) == 1
    assert sum(name.startswith("tracks/") for name in files) == 2


def test_an_organiser_who_says_nothing_has_no_empty_headings(edition: Edition) -> None:
    for name, page in html_pages(render(edition)):
        assert {"Organiser", "Rules", "Contact"}.isdisjoint(page.text), name


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_words_of_an_organiser_stay_text(keys: Keys, tmp_path: Path, text: str) -> None:
    fields = ("title", "organiser", "contact", "description", "rules", "track_title")
    harmless = declared(tmp_path / "a", keys, **dict.fromkeys(fields, "words"))
    hostile = declared(tmp_path / "b", keys, **dict.fromkeys(fields, text))
    for name, page in html_pages(harmless):
        found = Page.of(hostile[name])
        assert [tag for tag, _ in found.elements] == [tag for tag, _ in page.elements], name
        assert "\u202e" not in hostile[name].decode(), name
    assert plain(text) in "".join(Page.of(hostile["index.html"]).text)
    for name in ("feed.xml", "badges/1.svg"):
        ET.fromstring(hostile[name])


@pytest.mark.parametrize("text", ["javascript:alert(1)", "https://a b", 'https://x"><b>', "a@b"])
def test_only_a_url_or_an_address_becomes_a_link(keys: Keys, tmp_path: Path, text: str) -> None:
    about = Page.of(declared(tmp_path, keys, rules=text)["about.html"])
    targets = [str(a.get("href")) for tag, a in about.elements if tag == "a"]
    outward = [target for target in targets if ":" in target]
    assert all(target.startswith("https://doi.org/10.") for target in outward)  # of the dataset
    assert text in about.text


def test_no_page_is_a_dead_end(edition: Edition) -> None:
    files = render(edition)
    places = {str(a["id"]) for _, a in Page.of(files["about.html"]).elements if "id" in a}
    assert {"submit", "images", "cite"} <= places
    for name, page in html_pages(files):
        root = "../" * name.count("/")
        targets = {str(a.get("href")) for tag, a in page.elements if tag == "a"}
        wanted = ("index.html", "about.html", "about.html#submit", "about.html#cite", "report.pub")
        assert {root + target for target in wanted} <= targets, name


def test_about_leaves_out_neither_deadline_nor_limit_nor_licence(
    keys: Keys, tmp_path: Path
) -> None:
    phases = (
        Phase(name="warm-up", closes=date(2026, 12, 24), quota_per_day=3, quota=17),
        Phase(
            name="final", opens=date(2027, 1, 2), closes=date(2027, 2, 3), part="final", steps={}
        ),
    )
    limits = StageLimits(infer=Limits(seconds=4321, memory_mb=5432, cpus=1.5))
    ledger = tmp_path / "ledger.jsonl"
    append(ledger, sign(make_report(), keys), keys)
    challenge = Challenge(phases=phases, limits=limits)
    verdict = verify_ledger(ledger)
    files = render(Edition.of(verdict, ledger.read_bytes(), challenge=challenge))
    about = Page.of(files["about.html"])
    assert {"warm-up", "2026-12-24", "3", "17", "final", "2027-01-02"} <= set(about.text)
    assert {"test part", "final part"} <= set(about.text)
    assert {"4321", "5432", "1.5", "infer"} <= set(about.text)
    release = ADAPTERS["busbra"].release
    assert {release.paper, release.download, release.terms} <= set(about.text)
    targets = {a.get("href") for tag, a in about.elements if tag == "a"}
    assert f"https://doi.org/{release.paper.removeprefix('doi:')}" in targets
    assert verdict.head in about.all_text
    assert verdict.reports[0].digest in Page.of(files["submissions/1.html"]).all_text


@pytest.mark.parametrize("text", HOSTILE)
def test_no_name_breaks_out_of_a_citation(keys: Keys, tmp_path: Path, text: str) -> None:
    ledger = tmp_path / "ledger.jsonl"
    append(ledger, sign(make_report(text, text), keys), keys)
    about = Challenge(title=text, organiser=text)
    edition = Edition.of(verify_ledger(ledger), ledger.read_bytes(), challenge=about)
    for cited in (
        cite_board(edition.board),
        cite_entry(about, edition.reports[0], text),
    ):
        depth = list(accumulate({"{": 1, "}": -1}.get(character, 0) for character in cited))
        assert min(depth) == depth[-1] == 0 and depth.count(0) == cited.index("{") + 1
        assert cited.count("\n") == 5


def test_phantoms_are_called_synthetic_wherever_they_are_shown(keys: Keys, tmp_path: Path) -> None:
    amber = "The masks of this test set are published"
    for dataset in ("phantom", "busbra"):
        report = make_report(dataset=dataset, track="one")
        edition = edition_of(keys, tmp_path / dataset, report)
        files = render(edition)
        kinds = ("index", "about", "tracks/", "splits/", "submissions/")
        for name, page in html_pages(files):
            if name.startswith(kinds):
                said = "ynthetic phantoms" in page.all_text
                assert said == (dataset == "phantom"), name
        assert (amber in page_of(edition, "tracks/").all_text) == (dataset == "busbra")
        for table in (to_markdown, to_latex, to_html):
            assert ("synthetic phantoms" in table(edition.board)) == (dataset == "phantom")


# --- what the pages say ------------------------------------------------------------------------


def test_rows_stand_in_order_of_rank_and_the_incomplete_last(edition: Edition) -> None:
    text = page_of(edition).text
    start = text.index("Date")
    order = [text.index(method, start) for method in ("winner", "second", "partial")]
    assert order == sorted(order)
    assert text[order[2] - 1] == "–"
    assert any(line.startswith("Incomplete:") for line in text)


def test_the_table_shows_what_the_report_says(edition: Edition) -> None:
    text = page_of(edition).text
    start = text.index("winner", text.index("Date"))
    row = text[start : text.index("attestation 2", start) + 2]
    assert {"0.812", "± 0.010", "0.792–0.832", "12.35", "8.35–16.35", "0.123"} <= set(row)
    assert {"trained here", "0.42 M", "1.42", "12.5 ms"} <= set(row)
    assert {"0.762", "0.900", edition.reports[1].time[:10]} <= set(
        row
    )  # lesion images and normal images apart


def test_public_labels_are_said_where_they_are_and_only_there(keys: Keys, tmp_path: Path) -> None:
    note = "The masks of this test set are published"
    for labels in ("public", "private"):
        page = page_of(edition_of(keys, tmp_path / labels, make_report(labels=labels)))
        assert (note in page.all_text) == (labels == "public")


def test_missing_rankings_are_said_and_present_ones_shown(
    edition: Edition, simulated: Edition
) -> None:
    note = "No ranking has been computed"
    assert note in page_of(edition).all_text
    page = page_of(simulated)
    assert note not in page.all_text
    first = simulated.board.tracks[0].rows[0]
    assert first.ranked is not None
    assert f"{first.ranked.rank_low}–{first.ranked.rank_high}" in page.text
    assert first.ranked.group in page.text


def test_an_empty_ledger_has_a_site_too(keys: Keys, tmp_path: Path) -> None:
    edition = edition_of(keys, tmp_path, make_report())
    board = edition.board.model_copy(update={"tracks": ()})
    page = page_of(Edition(board, edition.ledger, ()), "index")
    assert "The ledger has no report yet." in page.text


def test_a_track_without_any_complete_result_has_a_page(
    keys: Keys, tmp_path: Path, drawn: None
) -> None:
    question = "How good is each method, and how sure is that?"
    whole = [make_report(method=name) for name in "abc"]  # as many as a plot compares
    part = [make_report(method=name, status="incomplete") for name in "abc"]
    assert question in page_of(edition_of(keys, tmp_path / "whole", *whole)).text
    assert question not in page_of(edition_of(keys, tmp_path / "part", *part)).text


def test_published_numbers_stand_apart_and_never_in_a_ranking(edition: Edition) -> None:
    files = render(edition)
    for name, page in html_pages(files):
        published = "Not measured here, and not comparable." in page.all_text
        assert published == ("0.8797" in page.text)
        assert published == (name in {"index.html", "method.html"} or "tracks/" in name), name
    assert b"0.8797" not in files["board.json"] + files["board.csv"]


def test_the_method_page_has_a_formula_for_every_metric_and_the_edge_table(
    edition: Edition,
) -> None:
    page = page_of(edition, "method")
    assert sum(tag == "math" for tag, _ in page.elements) >= 10
    assert {"both empty", "prediction empty", "reference empty"} <= set(page.text)


def test_an_earlier_entry_points_to_the_later_one(keys: Keys, tmp_path: Path) -> None:
    edition = edition_of(keys, tmp_path, make_report(dice=0.6), make_report(dice=0.7))
    files = render(edition)
    assert "entry 2" in Page.of(files["submissions/1.html"]).text
    assert b"superseded" in files["badges/1.svg"]
    assert b"rank 1 of 1" in files["badges/2.svg"]


def test_numbers_as_awesome_bus_are_on_the_submissions_page_and_in_no_ranking(
    keys: Keys, tmp_path: Path
) -> None:
    files = render(edition_of(keys, tmp_path, make_report(dice=0.8)))
    text = Page.of(files["submissions/1.html"]).text
    assert text[text.index("Dice ↑, as Awesome-BUS 2025") + 1] == "0.400 ± 0.010"
    assert any("never for ranking" in one for one in text)
    (track,) = (name for name in files if "tracks/" in name and name.endswith(".html"))
    assert "as Awesome-BUS" not in Page.of(files[track]).all_text


def test_a_retracted_result_says_why_and_is_on_no_board(keys: Keys, tmp_path: Path) -> None:
    edition = edition_of(keys, tmp_path, make_report(method="bad"), make_report(method="good"))
    wrong = edition.reports[0].digest
    append(tmp_path / "ledger.jsonl", Retraction(entry=wrong, reason="Trained on it."), keys)
    files = render(edition_of(keys, tmp_path))
    page = Page.of(files["submissions/1.html"])
    (retraction,) = verify_ledger(tmp_path / "ledger.jsonl").retractions
    assert {f"Retracted on {retraction.time[:10]}:", "Trained on it."} <= set(page.text)
    assert b"retracted" in files["badges/1.svg"]
    name = next(n for n in files if "tracks/" in n)
    assert ("a", {"href": f"../{name}"}) in page.elements  # the way back
    track = Page.of(files[name])
    assert track.text.index("bad") > track.text.index("No longer on the board")
    assert {"retracted", "Trained on it."} <= set(track.text)


# --- splits ------------------------------------------------------------------------------------


def lock_of(name: str) -> SplitLock:
    return FrozenSplit.open(ROOT / "splits" / name / "subset-v1").lock


def test_what_a_team_says_of_its_method_is_shown_and_never_fetched(
    keys: Keys, tmp_path: Path
) -> None:
    notes = {
        "description": "<b>bold</b> & more",
        "authors": ["Ann", "Bob"],
        "paper": "https://example.org/paper?a=b&c=(d)",
        "code": "https://example.org/code",
        "external_data": "none",
    }
    files = render(edition_of(keys, tmp_path, make_report(notes=notes)))
    page = Page.of(files["submissions/1.html"])
    assert "<b>bold</b> & more" in page.all_text and "Ann, Bob" in page.all_text
    assert page.all_text.count("not stated") == 2  # licence, and weights that it began with
    row = next(Page.of(data) for name, data in files.items() if name.startswith("tracks/"))
    for shown in (page, row):
        links = {
            str(a["href"]): a for _, a in shown.elements if str(a.get("href")).startswith("https:")
        }
        assert links.keys() == {notes["paper"], notes["code"]}
        assert all(str(a["rel"]).split()[0] == "noopener" for a in links.values())
        assert not any(str(a.get("src")).startswith("http") for _, a in shown.elements)


def test_a_split_at_hand_shows_its_audit(keys: Keys, tmp_path: Path) -> None:
    lock = lock_of("busbra")
    report = make_report(split_version=lock.version, split_digest=lock.digest)
    without = page_of(edition_of(keys, tmp_path, report), "splits/")
    assert "was not at hand" in without.all_text
    page = page_of(edition_of(keys, tmp_path, lock=lock), "splits/")
    assert any("0 of 174 test cases" in text for text in page.text)
    assert {"patient", "42", "benign", "Q4", lock.digest} <= set(page.text)


def test_a_split_that_leaks_says_so_wherever_its_results_are_shown(
    keys: Keys, tmp_path: Path
) -> None:
    lock = lock_of("busbra")
    audit = lock.audit.model_copy(update={"leaking": 7, "share": 7 / 174})
    leaky = lock.model_copy(update={"leaks": True, "audit": audit})
    report = make_report(split_version=lock.version, split_digest=lock.digest)
    edition = edition_of(keys, tmp_path, report, lock=leaky)
    assert any("It leaks: 7 of" in text for text in page_of(edition, "splits/").text)
    assert "This split leaks:" in page_of(edition).text


# --- data and feeds ----------------------------------------------------------------------------


def test_the_data_files_are_the_board(edition: Edition) -> None:
    files = render(edition)
    assert Board.model_validate_json(files["board.json"]).document() == edition.board.document()
    assert files["board.csv"].decode().count("\n") == 1 + 4


def test_the_attestations_and_the_ledger_can_be_verified(
    edition: Edition, keys: Keys, tmp_path: Path
) -> None:
    files = render(edition)
    (tmp_path / "copy.jsonl").write_bytes(files["ledger.jsonl"])
    assert verify_ledger(tmp_path / "copy.jsonl", keys.report).head == edition.board.ledger_head
    for entry in edition.reports:
        path = tmp_path / f"{entry.number}.json"
        path.write_bytes(files[f"attestations/{entry.number}.dsse.json"])
        assert verify_report(path, keys.report) == entry.report


# --- size --------------------------------------------------------------------------------------


def test_a_page_of_a_hundred_results_is_light(keys: Keys, tmp_path: Path) -> None:
    reports = [make_report(method=f"method {n}", dice=0.5 + n / 400, gap=0.02) for n in range(3)]
    edition = edition_of(keys, tmp_path, *reports)
    (track,) = edition.board.tracks
    rows = tuple(track.rows[n % 3].model_copy(update={"rank": n + 1}) for n in range(100))
    board = edition.board.model_copy(update={"tracks": (track.model_copy(update={"rows": rows}),)})
    files = render(Edition(board, edition.ledger, edition.reports))
    loaded = [n for n in files if n.startswith("tracks/")] + ["style.css", *OF_A_TRACK, "icon.svg"]
    assert sum(len(files[name]) for name in loaded) < 500_000


@pytest.mark.parametrize("spaced", [0, 1, 25, 39, 40])
def test_no_board_is_silent_on_pixel_sizes_that_some_cases_have(
    keys: Keys, tmp_path: Path, spaced: int
) -> None:
    units = {"dice": "", "iou": "", "hd95": "mm" if spaced == 40 else "px"}
    edition = edition_of(keys, tmp_path, make_report(spaced=spaced, units=units))
    (track,) = edition.board.tracks
    assert (track.cases, track.spaced) == (40, spaced)
    note = f"of none in millimetres: the pixel size is known for {spaced} of them"
    page = page_of(edition).all_text
    tables = (to_markdown(edition.board), to_latex(edition.board), to_html(edition.board))
    for text in (" ".join(page.split()), *tables):
        assert (note in text) == (0 < spaced < 40)
