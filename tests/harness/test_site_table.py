"""A track's table on the site: columns, pages, comparison, files, and boards of the past."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext

from harness.ledger import Replacement, Rescored, Rescoring, Retraction, append, sign, verify_ledger
from harness.ledger.report import Report
from harness.ranking import METRICS, make_board
from harness.ranking.columns import Style
from harness.ranking.names import plain
from harness.ranking.records import to_csv
from harness.ranking.tables import track_cells
from harness.sealing.keys import Keys
from harness.website.edition import Edition
from harness.website.pages import site as pages
from harness.website.pages.past import past_boards, withdrawn
from harness.website.pages.site import render
from tests.support.command_line import busbench_in
from tests.support.factories import make_report
from tests.support.simulated import ENTRANTS, simulate
from tests.support.website import PATIENCE, ROWS, Page, Tab, wait_until

MANY = 120  # rows of the long table
ENDS = "cells => cells.map(cell => Math.round(cell.getBoundingClientRect().right))"
SHOWN = f"{ROWS}:not([hidden]):not(.off)"


@pytest.fixture(scope="module")
def edition(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Edition:
    """A track whose ledger has a ranking, a retraction and a rescoring, and two other tracks."""
    folder = tmp_path_factory.mktemp("raced")
    ledger = folder / "ledger.jsonl"
    reports = simulate(keys, ledger, ENTRANTS[-6:], cases=40)  # entries 1 to 6, and their ranking

    def add(report: Report, **notes: str) -> str:
        said = report.notes.model_copy(update=notes)
        noted = report.model_copy(update={"notes": said})
        return append(ledger, sign(noted, keys), keys).entry.digest

    newcomer = reports[2].model_copy(update={"team": "Newcomer", "method": "first try"})
    first = add(newcomer)
    second = add(newcomer, description="Trained anew.")
    append(ledger, Retraction(entry=second, reason="Saw the test images."), keys)
    add(make_report("Sonolab", "on another track", track="other"))
    lone = add(make_report("Sonolab", "alone", track="gone"))
    append(ledger, Retraction(entry=lone, reason="A wrong split."), keys)
    same = {"predictions_sha256": newcomer.scores.predictions_sha256}
    scored = newcomer.model_copy(update={"scores": reports[1].scores.model_copy(update=same)})
    after = append(ledger, Rescored(replaces=first, envelope=sign(scored, keys)), keys).entry.digest
    pair = Replacement(before=first, after=after, means={"dice": (0.8, 0.7)}, ranks=(2, 1))
    append(ledger, Rescoring(reason="A wrong label.", replaced=(pair,)), keys)
    return Edition.of(verify_ledger(ledger), ledger.read_bytes())


@pytest.fixture(scope="module")
def ranked(edition: Edition, tmp_path_factory: pytest.TempPathFactory) -> Edition:
    """The same ledger as of its ranking."""
    ledger = tmp_path_factory.mktemp("ranked") / "ledger.jsonl"
    ledger.write_bytes(b"".join(edition.ledger.splitlines(keepends=True)[:8]))
    return Edition.of(verify_ledger(ledger), ledger.read_bytes())


@pytest.fixture(scope="module")
def files(edition: Edition) -> dict[str, bytes]:
    return drawn_without_plots(edition)


@pytest.fixture(scope="module")
def ranked_files(ranked: Edition) -> dict[str, bytes]:
    return drawn_without_plots(ranked)


def drawn_without_plots(edition: Edition) -> dict[str, bytes]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pages, "plots", lambda track: iter(()))
        return render(edition)


def data_of(files: dict[str, bytes], name: str, track: str = "busbra") -> object:
    """What a script that a page asks for later sets."""
    (text,) = (
        files[file]
        for file in files
        if file.startswith(f"tables/{track}") and file.endswith(f"/{name}.js")
    )
    start = f'boardTables["{name}"] = '.encode()
    assert text.startswith(start) and text.endswith(b";\n")
    return json.loads(text.removeprefix(start).removesuffix(b";\n"))


def track_page(files: dict[str, bytes], track: str = "busbra") -> str:
    return next(name for name in files if name.startswith(f"tracks/{track}"))


# --- boards of the past --------------------------------------------------------------------------


def test_no_board_of_the_past_differs_from_what_rank_says_of_the_ledgers_start(
    edition: Edition, tmp_path: Path
) -> None:
    (view,) = (view for view in edition.views if view.track.track == "busbra")
    boards = past_boards(edition, view)
    lines = edition.ledger.splitlines(keepends=True)
    for number in (1, 2, 6, 7, 8, 9, 10, 14, 15):
        start = tmp_path / f"{number}.jsonl"
        start.write_bytes(b"".join(lines[: number + 1]))
        tracks = make_board(verify_ledger(start)).tracks
        rows = next((track.rows for track in tracks if track.track == "busbra"), ())
        expected = [(r.entry, r.rank, r.ranked.group if r.ranked else "") for r in rows]
        found = [board for board in boards if board.number <= number][-1]
        assert [(row.entry, row.rank, row.group) for row in found.rows] == expected, number
    assert [board.number for board in boards] == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15]
    assert any(row.group for row in boards[6].rows) and not boards[5].rows[0].group


def test_an_edition_without_its_ledgers_entries_has_no_past(edition: Edition) -> None:
    assert past_boards(replace(edition, verdict=None), edition.views[0]) == []


def test_no_result_leaves_the_board_in_silence(files: dict[str, bytes]) -> None:
    text = Page.of(files[track_page(files)]).text
    start = text.index("No longer on the board")
    assert {"scored anew", "Entry 14 has the same predictions, scored again: A wrong label."} <= {
        *text[start:]
    }
    assert {"retracted", "Saw the test images."} <= {*text[start:]}
    index = Page.of(files["index.html"]).text
    assert {"alone", "gone", "A wrong split."} <= {*index[index.index("No longer on the board") :]}
    assert "Saw the test images." not in index
    assert "No longer on the board" not in Page.of(files[track_page(files, "other")]).text


def test_a_superseded_result_left_the_board_when_the_next_one_came(
    keys: Keys, tmp_path: Path
) -> None:
    """Not when the one came that counts now; a next one that was retracted again is no end."""
    ledger = tmp_path / "ledger.jsonl"
    times = [f"2026-03-{day:02}T12:00:00Z" for day in range(1, 8)]
    clock = iter(times)

    def add(entry: Report | Retraction) -> str:
        made = sign(entry, keys) if isinstance(entry, Report) else entry
        return append(ledger, made, keys, clock=lambda: next(clock)).entry.digest

    add(make_report(dice=0.5))
    brief = add(make_report(dice=0.6))
    add(Retraction(entry=brief, reason="A wrong file."))
    third = add(make_report(dice=0.7))
    add(make_report(dice=0.8))
    add(Retraction(entry=third, reason="A wrong file, too."))
    edition = Edition.of(verify_ledger(ledger), ledger.read_bytes())
    (found,) = withdrawn(edition).values()
    said = {one.entry.number: (one.state, one.since) for one in found}
    days = {one.time: one.number for one in verify_ledger(ledger).walk()}
    assert {n: (state, days[since]) for n, (state, since) in said.items()} == {
        1: ("superseded", 4),
        2: ("retracted", 3),
        4: ("retracted", 6),
    }


# --- files, and what scripts ask for -------------------------------------------------------------


def test_the_texts_to_copy_are_what_table_prints(
    keys: Keys, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    for method in ("one_of", "a & b"):
        append(ledger, sign(make_report(method=method), keys), keys)
    made = drawn_without_plots(Edition.of(verify_ledger(ledger), ledger.read_bytes()))
    texts = data_of(made, "texts")
    assert isinstance(texts, dict)
    for end, how in (("md", "markdown"), ("tex", "latex")):
        words = ("table", ledger, "--format", how, "--columns", "dice,iou,hd95")
        printed = busbench_in(capsys, *words).out
        (file,) = (data for name, data in made.items() if name.endswith(f".{end}"))
        assert file.decode().strip() == texts[end].strip() == printed.strip()


def test_the_csv_files_of_the_tracks_are_the_boards(
    edition: Edition, files: dict[str, bytes]
) -> None:
    head, *lines = to_csv(edition.board).splitlines()
    found = [data.decode().splitlines() for name, data in files.items() if name.endswith(".csv")]
    tables = [part for part in found if part != [head, *lines]]
    assert [part[0] for part in tables] == [head] * len(edition.views)
    assert [line for part in tables for line in part[1:]] == lines


def test_no_cell_of_a_chosen_column_differs_from_rank(
    edition: Edition, files: dict[str, bytes]
) -> None:
    track = next(view.track for view in edition.views if view.track.track == "busbra")
    groups = data_of(files, "columns-0")["groups"]  # type: ignore[index]
    assert {name for name, _ in groups} == {name for row in track.rows for name in row.groups}
    names = []
    for place in range(len(groups)):
        data = data_of(files, f"columns-{place}")
        assert data["entries"] == [row.entry for row in track.rows]  # type: ignore[index]
        for column in data["columns"]:  # type: ignore[index]
            names.append(column["name"])
            cells = [row[-1] for row in track_cells(track, Style(plain), (column["name"],))]
            assert [column["head"], *column["cells"]] == cells
    assert {"dice", "interval:hd95", "recall", "gap", "gmacs", "hd95@malignant"} <= {*names}
    assert len(names) == len({*names}) and "energy_j" not in names


def test_the_compared_numbers_are_the_rankings(
    ranked: Edition, ranked_files: dict[str, bytes]
) -> None:
    (track,) = ranked.board.tracks
    data = data_of(ranked_files, "compare")
    assert isinstance(data, dict) and track.statistics is not None
    tests = track.statistics.significance
    assert [edition_entry(ranked, digest) for digest in tests.entries] == data["tested"]
    assert data["p"]["dice"] == [list(row) for row in tests.adjusted["dice"]]
    assert data["halfWidths"]["hd95"] == [list(row) for row in tests.half_widths["hd95"]]
    for row in track.ranked:
        assert row.ranked is not None
        for metric in METRICS:
            one = data["results"][str(row.entry)]["metrics"][metric.key]
            found = row.ranked.metrics[metric.key]
            assert one["mean"] == pytest.approx(found.mean, abs=1e-6)  # what `compare` subtracts
            assert one["rank"] == f"{found.mean_rank:.2f}"
    assert data["results"][str(track.unranked[0].entry)]["metrics"]["dice"]["mean"] is None


def edition_entry(edition: Edition, digest: str) -> int:
    return next(entry.number for entry in edition.reports if entry.digest == digest)


# --- in a browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(
    files: dict[str, bytes],
    ranked: Edition,
    ranked_files: dict[str, bytes],
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """Addresses of track pages in folders: `now`, `ranked`, and `long`, of 120 rows."""
    (track,) = ranked.board.tracks
    row = track.rows[0]
    rows = [
        row.model_copy(update={"rank": n, "entry": n, "method": f"method {n}"})
        for n in range(1, MANY + 1)
    ]
    long = track.model_copy(update={"rows": (*rows, *track.unranked), "statistics": None})
    board = ranked.board.model_copy(update={"tracks": (long,)})
    long_files = drawn_without_plots(replace(ranked, board=board, verdict=None))
    found = {}
    for name, made in {"now": files, "ranked": ranked_files, "long": long_files}.items():
        folder = tmp_path_factory.mktemp(name)
        for file, data in made.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_bytes(data)
        found[name] = (folder / track_page(made)).as_uri()
    return found


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[BrowserContext]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    yield context
    context.close()


@pytest.fixture
def open_tab(context: BrowserContext) -> Iterator[Tab]:
    tab = Tab.of(context)
    yield tab
    tab.page.close()
    assert tab.said == []
    assert all(url.startswith("file:") for url in tab.asked)


def test_a_long_table_is_paged_and_a_row_that_is_linked_is_never_out_of_sight(
    site: dict[str, str], open_tab: Tab
) -> None:
    page = open_tab.page
    page.goto(site["long"])
    assert page.locator(SHOWN).count() == 50
    assert "1–50 of 121 shown" in page.get_by_role("status").first.inner_text()
    page.get_by_role("button", name="Page 3").click()
    assert page.locator(SHOWN).count() == 21 and page.url.endswith("?page=3")
    assert page.locator(".divider").is_visible()
    page.get_by_role("button", name="All rows").click()
    assert page.locator(SHOWN).count() == 121 and page.url.endswith("?page=all")
    page.goto("about:blank")
    page.goto(site["long"] + "#entry-77")
    wait_until(page, "document.querySelector('#entry-77').checkVisibility()")
    assert page.url.endswith("?page=2#entry-77")
    page.get_by_label("Method or team").fill("method 11")
    assert page.locator(SHOWN).count() == 11  # 11, and 110 to 119
    assert not page.get_by_role("navigation", name="Pages of the table").is_visible()
    page.get_by_label("Method or team").fill("")
    page.emulate_media(media="print")
    assert page.locator(f"{ROWS}:visible").count() == 121


def test_no_name_of_a_scanner_takes_its_column_away(
    keys: Keys, tmp_path: Path, open_tab: Tab
) -> None:
    """A comma, a colon and an at sign in it are no signs of a column's name."""
    device = "device 100% GE, Logiq: E9 @ 7's"
    report = make_report()
    groups = report.scores.groups | {device: report.scores.groups["lesion"]}
    scores = report.scores.model_copy(update={"groups": groups})
    append(tmp_path / "l", sign(report.model_copy(update={"scores": scores}), keys), keys)
    made = drawn_without_plots(
        Edition.of(verify_ledger(tmp_path / "l"), (tmp_path / "l").read_bytes())
    )
    for file, data in made.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(data)
    page = open_tab.page
    page.goto((tmp_path / track_page(made)).as_uri())
    page.get_by_text("Columns", exact=True).click()
    page.get_by_role("combobox", name="Over").select_option(device)
    page.locator(f'[data-name="interval:dice@{device}"]').check()
    heads = page.locator("table[data-board] th.num")
    assert heads.count() == 4 and "E9" in heads.last.inner_text()
    word = page.locator(".picker code").first.inner_text().removeprefix("--columns ")
    assert shlex.split(word) == [f"dice,iou,hd95,interval:dice@{device}"]
    page.reload()
    page.wait_for_selector("table[data-board] th.num:nth-of-type(6)")
    assert heads.count() == 4 and "E9" in heads.last.inner_text()
    assert open_tab.said == []


def test_columns_of_the_address_are_shown_sorted_and_refused_where_there_are_none(
    site: dict[str, str], open_tab: Tab
) -> None:
    page = open_tab.page
    wanted = "hd95@malignant,gap,no-such,interval:dice"
    page.goto(f"{site['ranked']}?columns={wanted}&sort=hd95@malignant")
    page.wait_for_selector("th[aria-sort] [data-key='hd95@malignant']")
    heads = page.locator("table[data-board] th.num").all_inner_texts()
    assert [head.split(" ▴")[0] for head in heads] == [
        "Malignant images: HD95 [px]\u00a0↓",
        "Dice gap",
        "95 % of Dice",
    ]
    cells = page.locator(f"{SHOWN} td.num:nth-of-type(2)").all_inner_texts()
    values = [float(cell.split(" ")[0]) for cell in cells[:-1]]
    assert values == sorted(values) and len({*values}) > 1
    assert "columns=hd95%40malignant%2Cgap%2Cinterval%3Adice" in page.url
    page.get_by_text("Columns", exact=True).click()
    page.get_by_label("Dice gap", exact=True).uncheck()
    page.get_by_role("combobox", name="Over").select_option("lesion")
    page.get_by_role("checkbox", name="Lesion images: IoU").check()
    assert "columns=hd95%40malignant%2Cinterval%3Adice%2Ciou%40lesion" in page.url
    page.get_by_role("button", name="As at first").click()
    assert "columns" not in page.url
    assert page.locator("table[data-board] th.num").count() == 3
    page.locator("[data-name=iou]").click()
    assert page.evaluate("document.activeElement.localName") == "select"  # where the keyboard is
    for width in (1280, 360):
        page.set_viewport_size({"width": width, "height": 800})
        ends = [
            page.locator(f"table[data-board] {line} .num").evaluate_all(ENDS)
            for line in ("thead tr", "tbody:first-of-type tr:first-child")
        ]
        assert ends[0] == ends[1] and len({*ends[0]}) == 2  # a head is above its cells
    page.set_viewport_size({"width": 1280, "height": 800})


def test_selected_rows_are_compared_by_the_rankings_numbers(
    site: dict[str, str], ranked: Edition, open_tab: Tab
) -> None:
    page = open_tab.page
    page.goto(site["ranked"])
    (track,) = ranked.board.tracks
    first, last = track.ranked[0], track.ranked[-1]
    for row in (first, last):
        page.get_by_label(f"Compare {row.method} of {row.team}", exact=True).check()
    page.get_by_role("button", name="Compare", exact=True).press("Enter")
    differences = page.get_by_role("region", name="Differences of each pair")
    cell = differences.locator("tbody td").first.inner_text()
    means = [summary.mean for row in (first, last) if (summary := row.summary("dice"))]
    assert cell.startswith(f"{means[0] - means[1]:.3f}")
    assert track.statistics is not None
    tests = track.statistics.significance
    places = [tests.entries.index(row.entry_digest) for row in (first, last)]
    p = tests.adjusted["dice"][places[0]][places[1]]
    assert ("the first is better" in cell) == (p < tests.level)
    assert ("p < 0.001" if p < 0.001 else f"p {p:.3f}") in cell
    half = tests.half_widths["dice"][max(places)][min(places)]
    ends = [means[0] - means[1] - half, means[0] - means[1] + half]
    assert f"{ends[0]:.3f} to {ends[1]:.3f}" in cell
    assert page.get_by_text("Small below a difference: its 95 % interval").is_visible()
    command = f"busbench compare ledger.jsonl {first.entry} {last.entry} --cases RUNS"
    assert page.get_by_text(command).is_visible()
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    assert differences.locator("tbody td").first.inner_text() == cell
    page.get_by_role("button", name="Clear").click()
    assert not differences.is_visible() and "compare" not in page.url


def test_no_interval_of_a_difference_is_made_up_where_the_ranking_is_stale(
    site: dict[str, str], ranked: Edition, open_tab: Tab
) -> None:
    page = open_tab.page
    (track,) = ranked.board.tracks
    page.goto(f"{site['now']}?compare={track.ranked[0].entry},{track.ranked[-1].entry}")
    cell = page.get_by_role("region", name="Differences of each pair").locator("tbody td").first
    assert re.fullmatch(r"-?\d\.\d{3}", cell.inner_text().strip())
    assert page.get_by_text("The interval of a difference that has none here").is_visible()


def test_an_earlier_board_is_in_place_of_that_of_now(
    site: dict[str, str], edition: Edition, open_tab: Tab
) -> None:
    page = open_tab.page
    page.goto(site["now"])
    page.get_by_text("Earlier boards").click()
    page.get_by_role("combobox", name="As of").select_option("3")
    (view,) = (view for view in edition.views if view.track.track == "busbra")
    board = past_boards(edition, view)[2]
    rows = page.get_by_role("region", name="Earlier board").locator("tbody tr")
    links = rows.locator("a").evaluate_all("links => links.map(link => link.href)")
    assert [f"{row.entry}.html" for row in board.rows] == [link.split("/")[-1] for link in links]
    assert rows.locator("td:nth-of-type(1)").all_inner_texts() == ["1", "2", "3"]
    assert not page.locator("table[data-board]").is_visible()
    assert not page.get_by_label("Method or team").is_visible()  # it would have no effect
    page.goto("about:blank")
    page.goto(site["now"] + "?asof=11")  # an entry of another track
    page.get_by_text("As of entry 10").wait_for(timeout=PATIENCE)
    assert page.url.endswith("?asof=10")


def test_a_copy_is_the_file(site: dict[str, str], context: BrowserContext, open_tab: Tab) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = open_tab.page
    page.goto(site["ranked"])
    for name, end in (("Markdown", "md"), ("LaTeX", "tex")):
        page.get_by_role("button", name=f"Copy as {name}").click()
        page.get_by_text("Copied.").wait_for(timeout=PATIENCE)
        path = Path(site["ranked"].removeprefix("file://"))
        text = (path.parents[1] / "tables" / f"{path.stem}.{end}").read_text()
        assert page.evaluate("navigator.clipboard.readText()") == text
