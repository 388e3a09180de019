"""The published site in a real Chromium: it works, pleases, and asks nothing of anyone else."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urldefrag, urljoin

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from harness.ledger import append, sign
from harness.sealing.keys import Keys
from harness.splits import FrozenSplit
from harness.website import publish
from tests.support import ROOT, soon
from tests.support.factories import make_image_report, make_report
from tests.support.simulated import simulate
from tests.support.website import HOSTILE, PATIENCE, ROWS, Tab, wait_until

SUB_PATH = "some/group/busbench"
OUTWARD = {"https://doi.org/10.1002/mp.16812", "https://doi.org/10.5281/zenodo.8231412"}  # BUS-BRA
DETAILS = "Details of each row"
WIDTHS = (360, 1280, 2560)
OTHERWISE_LAID_OUT = ("tracks/busbra", "index", "submissions")  # on a phone
expect.set_options(timeout=PATIENCE)
RESIZED = "document.documentElement.scrollWidth <= innerWidth"


@pytest.fixture(scope="module")
def served(keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose `SUB_PATH` is a site: a track with ranking, and one of hostile names."""
    folder = tmp_path_factory.mktemp("served")
    lock = FrozenSplit.open(ROOT / "splits" / "busbra" / "subset-v1").lock
    how: dict[str, Any] = {"split_version": lock.version, "split_digest": lock.digest}
    ledger = folder / "ledger.jsonl"
    for name in HOSTILE:
        append(ledger, sign(make_report(name, name, track="hostile"), keys), keys)
    append(ledger, sign(make_report(track="small", folds=1, half_width=None), keys), keys)
    simulate(keys, ledger, cases=60, **how)
    publish(ledger, folder / SUB_PATH, [ROOT / "splits"])
    return folder


@pytest.fixture(scope="module")
def home(served: Path) -> Iterator[str]:
    """The site's address under a sub-path of a web server on this machine."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/{SUB_PATH}/"
    server.shutdown()
    server.server_close()


def pages_of(served: Path) -> list[str]:
    """One page of each kind."""
    site = served / SUB_PATH
    kinds = ["tracks/busbra-*", "tracks/hostile-*", "splits/busbra-subset*", "submissions/12.html"]
    kinds += ["index.html", "about.html", "method.html", "check.html"]
    found = [next(site.glob(kind)) for kind in kinds]
    return [str(path.relative_to(site)) for path in found]


def track_of(served: Path, home: str, name: str = "busbra") -> str:
    return home + next(page for page in pages_of(served) if page.startswith(f"tracks/{name}"))


# --- it works ----------------------------------------------------------------------------------


def test_every_page_can_be_reached_and_none_asks_another_host_or_complains(
    home: str, served: Path, tab: Tab
) -> None:
    todo, seen = ["index.html"], set()
    files: set[str] = set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        answer = tab.page.goto(home + name, wait_until="load")
        assert answer is not None and answer.ok, name
        hrefs = tab.page.eval_on_selector_all("a[href]", "links => links.map(l => l.href)")
        links = {urldefrag(urljoin(home + name, href)).url for href in hrefs}
        links -= OUTWARD
        assert all(link.startswith(home) for link in links)
        files |= {link.removeprefix(home) for link in links}
        todo += sorted(file for file in files if file.endswith(".html"))
    site = served / SUB_PATH
    assert all((site / file).is_file() for file in files)
    assert seen == {str(path.relative_to(site)) for path in site.rglob("*.html")}
    assert tab.said == []
    assert all(url.startswith(home) for url in tab.asked)
    assert any(url.endswith("board.js") for url in tab.asked)


def test_it_works_from_a_folder(served: Path, tab: Tab) -> None:
    site = served / SUB_PATH
    for name in pages_of(served):
        tab.page.goto((site / name).as_uri(), wait_until="load")
        assert (
            tab.page.evaluate("getComputedStyle(document.querySelector('.bar')).display") == "flex"
        )
        for image in tab.page.locator("img").all():
            image.scroll_into_view_if_needed()
            image.evaluate("shown => shown.decode()")
    tab.page.goto((site / pages_of(served)[0]).as_uri())
    assert tab.page.locator(".tools input[type=search]").is_visible()  # so the script ran
    assert tab.said == []
    assert all(url.startswith(site.as_uri()) for url in tab.asked)


def test_the_policy_stops_what_is_not_ours(home: str, served: Path, tab: Tab) -> None:
    tab.page.goto(track_of(served, home))
    tab.page.evaluate(
        """() => {
          const script = document.createElement("script");
          script.textContent = "document.title = 'taken over'";
          document.body.append(script);
          const image = new Image();
          image.src = "http://127.0.0.1:9/leak";
          document.body.append(image);
          document.body.setAttribute("style", "display: none");
        }"""
    )
    assert "taken" not in tab.page.title()
    assert tab.page.locator("body").is_visible()
    soon(lambda: len(tab.said) >= 3 and tab.refused, tab.page.wait_for_timeout)
    assert len([line for line in tab.said if "Content Security Policy" in line]) == 3
    assert tab.refused == {"http://127.0.0.1:9/leak": "csp"}


@pytest.mark.parametrize("key", ["dice", "iou", "hd95", "lesion", "gap", "parameters", "gmacs"])
def test_a_click_sorts_and_another_turns_it_round(
    home: str, served: Path, tab: Tab, key: str
) -> None:
    tab.page.goto(track_of(served, home))
    before = [value for value in tab.keys(key) if value is not None]
    assert len(before) == len(tab.keys(key))
    tab.page.get_by_label(DETAILS).check()
    head = tab.page.locator(f"[data-key={key}]")
    head.get_by_role("button").click()
    falls = head.get_attribute("data-first") == "down"
    assert tab.keys(key) == sorted(before, reverse=falls) != before or before == sorted(before)
    cell = tab.page.locator("th", has=head)
    assert cell.get_attribute("aria-sort") == ("descending" if falls else "ascending")
    head.get_by_role("button").click()
    assert tab.keys(key) == sorted(before, reverse=not falls)
    assert tab.page.locator("th[aria-sort]").count() == 1


def test_names_sort_as_people_sort_and_the_incomplete_stay_below(
    home: str, served: Path, tab: Tab
) -> None:
    tab.page.goto(track_of(served, home))
    last = tab.column("method")[-1]
    for key in ("method", "team"):
        tab.page.locator(f"[data-key={key}]").get_by_role("button").click()
        found = tab.column(key)[:-1]
        assert found == sorted(found, key=str.casefold)
        assert tab.column("method")[-1] == last == "LightBUS with an ensemble"


def test_what_is_missing_stays_last_in_both_directions(
    keys: Keys, tmp_path: Path, tab: Tab
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    for number, gmacs in enumerate((3.0, None, 1.0)):
        append(ledger, sign(make_report(method=f"m{number}", gmacs=gmacs), keys), keys)
    publish(ledger, tmp_path / "site")
    tab.page.goto(next((tmp_path / "site" / "tracks").iterdir()).as_uri())
    tab.page.get_by_label(DETAILS).check()
    for expected in ([1.0, 3.0, None], [3.0, 1.0, None]):
        tab.page.locator("[data-key=gmacs]").get_by_role("button").click()
        assert tab.keys("gmacs") == expected


def test_a_click_on_the_date_puts_the_newest_first(keys: Keys, tmp_path: Path, tab: Tab) -> None:
    ledger = tmp_path / "ledger.jsonl"
    for month, dice in ((1, 0.7), (2, 0.9), (3, 0.8)):
        report = make_report(method=f"month {month}", dice=dice)
        append(ledger, sign(report, keys), keys, clock=lambda m=month: f"2026-0{m}-01T00:00:00Z")  # type: ignore[misc]
    publish(ledger, tmp_path / "site")
    tab.page.goto(next((tmp_path / "site" / "tracks").iterdir()).as_uri())
    assert tab.column("method") == ["month 2", "month 3", "month 1"]
    tab.page.get_by_label(DETAILS).check()
    button = tab.page.locator("[data-key=recorded]").get_by_role("button")
    for expected in ("321", "123"):
        button.click()
        assert tab.column("method") == [f"month {number}" for number in expected]


def test_filters_by_words_and_origin_and_says_how_many_are_left(
    home: str, served: Path, tab: Tab
) -> None:
    tab.page.goto(track_of(served, home))
    status = tab.page.get_by_role("status").first
    tab.page.get_by_label("Method or team").fill("lumen  light")
    assert tab.column("method") == ["LightBUS", "LightBUS with an ensemble"]
    assert "2 of 10 shown" in status.inner_text()
    tab.page.get_by_label("Origin").select_option("supplied")
    assert tab.column("method") == ["LightBUS"]
    tab.page.get_by_label("Method or team").fill("")
    assert tab.column("method") == ["EchoFormer-S", "LightBUS"]
    tab.page.get_by_label("Method or team").fill("no such thing")
    assert tab.column("method") == []
    assert "0 of 10 shown" in status.inner_text()


def test_no_filter_lacks_its_name(keys: Keys, tmp_path: Path, tab: Tab) -> None:
    ledger = tmp_path / "ledger.jsonl"
    for report in (make_report(method="network", folds=1), make_image_report()):
        append(ledger, sign(report, keys), keys)
    publish(ledger, tmp_path / "site")
    tab.page.goto(next((tmp_path / "site" / "tracks").iterdir()).as_uri())
    names = tab.page.locator(".controls label > span").all_inner_texts()
    assert names == ["Method or team", "Kind", "Sort by"]
    tab.page.get_by_role("combobox", name="Kind").select_option("image")
    assert tab.column("method") == ["container"]


def test_without_script_the_table_is_complete_and_nothing_is_dead(
    home: str, served: Path, browser: Browser
) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(track_of(served, home))
    assert page.locator(ROWS).count() == 10
    assert page.locator("button, input, select").count() == 1  # the switch, which needs no script
    more = page.locator(f"{ROWS} .more").first
    assert not more.is_visible()
    page.get_by_label(DETAILS).check()
    assert more.is_visible()
    page.locator("summary").first.click()
    assert page.locator("details[open] table").is_visible()
    context.close()


# --- it pleases --------------------------------------------------------------------------------


def test_the_keyboard_alone_sorts_and_follows_links(home: str, served: Path, tab: Tab) -> None:
    tab.page.goto(track_of(served, home))
    tab.page.keyboard.press("Tab")
    focused = "document.activeElement.textContent.trim()"
    assert tab.page.evaluate(focused) == "Skip to the content"
    for _ in range(40):
        tab.page.keyboard.press("Tab")
        if tab.page.evaluate(focused) == "Team" or tab.page.evaluate(focused) == "team":
            break
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert tab.page.evaluate(outline) == "solid"
    tab.page.keyboard.press("Enter")
    found = tab.column("team")[:-1]
    assert found == sorted(found, key=str.casefold)
    tab.page.locator(f"{ROWS} a.method").first.focus()
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url("**/submissions/*.html")


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_axe_finds_nothing_serious_or_moderate_and_no_small_target(
    home: str, served: Path, browser: Browser, width: int, scheme: Any
) -> None:
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    for name in pages_of(served):
        page.goto(f"{home}{name}?compare=12,13")  # rows of one of them
        for summary in page.locator("summary").all():
            summary.click()
        passed = without_faults(page, name)
        assert {"color-contrast", "region", "target-size"} <= passed
        if name.startswith(OTHERWISE_LAID_OUT):  # the other scheme has other colours, and no more
            page.emulate_media(color_scheme="light" if scheme == "dark" else "dark")
            assert without_faults(page, name, "color-contrast") == {"color-contrast"}
            page.emulate_media(color_scheme=scheme)
    page.close()


def without_faults(page: Page, name: str, *only: str) -> set[str]:
    """The rules that a page passes; it breaks none that matters. `only`: the rules to try."""
    options: dict[str, Any] = {"rules": {"target-size": {"enabled": True}}}
    if only:
        options = {"runOnly": [*only]}
    found = Axe().run(page, options=options).response
    grave = [v for v in found["violations"] if v["impact"] != "minor"]
    assert [(v["id"], [node["html"] for node in v["nodes"]][:3]) for v in grave] == [], name
    return {rule["id"] for rule in found["passes"]}


@pytest.mark.parametrize("width", WIDTHS)
def test_no_page_is_wider_than_its_window(
    home: str, served: Path, browser: Browser, width: int
) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900})
    page = context.new_page()
    for name in pages_of(served):
        page.goto(home + name)
        assert page.evaluate(RESIZED), name
    context.close()


def test_the_whole_table_fits_a_laptop(home: str, served: Path, tab: Tab) -> None:
    tab.page.goto(track_of(served, home))
    scroll = tab.page.locator("table[data-board]")
    assert scroll.evaluate("box => box.scrollWidth <= box.clientWidth")


@pytest.mark.parametrize(("width", "rows"), [(1280, 6), (360, 4)])
@pytest.mark.parametrize("track", ["busbra", "hostile"])
def test_the_first_screen_never_lacks_the_table(
    home: str, served: Path, tab: Tab, *, track: str, width: int, rows: int
) -> None:
    tab.page.set_viewport_size({"width": width, "height": 800})
    tab.page.goto(track_of(served, home, track))
    complete = (
        "rows => rows.map(row => row.getBoundingClientRect())"
        ".filter(box => box.height > 0 && box.bottom <= innerHeight).length"
    )
    assert tab.page.locator(ROWS).evaluate_all(complete) >= rows


@pytest.mark.parametrize("width", [360, 1280])
def test_the_heads_never_leave_the_sight_of_a_row(
    home: str, served: Path, tab: Tab, width: int
) -> None:
    tab.page.set_viewport_size({"width": width, "height": 500})
    tab.page.goto(track_of(served, home))
    script = "row => scrollBy({ top: row.getBoundingClientRect().bottom, behavior: 'instant' })"
    tab.page.locator(ROWS).nth(5).evaluate(script)
    box = tab.page.locator("table[data-board] thead").bounding_box()
    assert box is not None and box["y"] == pytest.approx(0, abs=1)


def test_the_address_loses_neither_order_nor_filters_nor_details(
    home: str, served: Path, tab: Tab
) -> None:
    tab.page.goto(track_of(served, home))
    tab.page.get_by_label("Method or team").fill("o")
    tab.page.get_by_label("Origin").select_option("trained here")
    tab.page.get_by_label(DETAILS).check()
    head = tab.page.locator("[data-key=parameters]").get_by_role("button")
    head.click()
    head.click()
    found = tab.column("method")
    address = tab.page.url
    assert address.endswith("?sort=-parameters&words=o&details=1&origin=trained+here")
    tab.page.goto("about:blank")
    tab.page.goto(address)
    assert tab.column("method") == found
    assert tab.page.get_by_label(DETAILS).is_checked()
    assert tab.page.locator(f"{ROWS} .more").first.is_visible()
    tab.page.goto(track_of(served, home) + "?sort=no%0Athing&origin=%3Cb%3E&gaps=x")
    assert len(tab.column("method")) == 10
    assert "sort" not in tab.page.url and "origin" not in tab.page.url
    assert tab.said == []


def test_silence_on_external_data_passes_no_filter_for_none(
    keys: Keys, tmp_path: Path, tab: Tab
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    for number, data in enumerate((None, "none", "BUSI")):
        report = make_report(
            method=f"m{number}", dice=0.9 - number / 10, notes={"external_data": data}
        )
        append(ledger, sign(report, keys), keys)
    publish(ledger, tmp_path / "site")
    tab.page.goto(next((tmp_path / "site" / "tracks").iterdir()).as_uri())
    tab.page.get_by_label("External data").select_option("no external data")
    assert tab.column("method") == ["m1"]
    assert tab.page.url.endswith("?external=no+external+data")
    tab.page.goto("about:blank")
    tab.page.go_back()
    assert tab.column("method") == ["m1"]


def test_a_gap_unlike_the_others_can_be_filtered_out(keys: Keys, tmp_path: Path, tab: Tab) -> None:
    ledger = tmp_path / "ledger.jsonl"
    for number, gap in enumerate((0.02, 0.021, 0.019, 0.21)):
        report = make_report(method=f"m{number}", gap=gap, dice=0.8 + number / 100)
        append(ledger, sign(report, keys), keys)
    publish(ledger, tmp_path / "site")
    tab.page.goto(next((tmp_path / "site" / "tracks").iterdir()).as_uri())
    marked = tab.page.locator(ROWS, has=tab.page.get_by_text("gap unlike the others"))
    assert marked.locator(".method").all_inner_texts() == ["m3"]
    tab.page.get_by_role("combobox", name="Gap").select_option("like the others")
    assert tab.column("method") == ["m2", "m1", "m0"]


def test_plots_are_readable_by_day_and_by_night(home: str, served: Path, browser: Browser) -> None:
    for scheme, ground in (("light", 255), ("dark", 27)):
        context = browser.new_context(color_scheme=scheme)  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(track_of(served, home))
        image = page.locator("figure img").first
        image.scroll_into_view_if_needed()
        image.evaluate("shown => shown.decode()")
        grey = np.asarray(Image.open(io.BytesIO(image.screenshot())).convert("L"), dtype=int)
        assert abs(int(np.median(grey)) - ground) <= 2
        assert np.abs(grey - ground).max() > 150  # the rank_groups
        context.close()


def test_narrow_windows_get_the_narrow_plots(home: str, served: Path, tab: Tab) -> None:
    tab.page.goto(track_of(served, home))
    plot = tab.page.locator("figure img").first
    wide, narrow = (
        urljoin(tab.page.url, tab.page.locator(found).first.get_attribute(name) or "")
        for found, name in (("figure img", "src"), ("figure source", "srcset"))
    )
    assert narrow.endswith("-narrow.svg")
    plot.scroll_into_view_if_needed()  # out of sight it is not loaded
    expect(plot).to_have_js_property("currentSrc", wide)
    tab.page.set_viewport_size({"width": 360, "height": 800})
    plot.scroll_into_view_if_needed()
    expect(plot).to_have_js_property("currentSrc", narrow)


def test_the_sort_control_of_narrow_windows_works(home: str, served: Path, tab: Tab) -> None:
    tab.page.set_viewport_size({"width": 360, "height": 800})
    tab.page.goto(track_of(served, home))
    tab.page.get_by_text("Filter and sort").click()
    tab.page.get_by_label("Sort by").select_option("parameters")
    assert tab.keys("parameters") == sorted(tab.keys("parameters"))  # type: ignore[type-var]
    tab.page.get_by_role("button", name="Reverse").click()
    found = tab.keys("parameters")
    assert found == sorted(found, reverse=True)  # type: ignore[type-var]


def test_it_prints_without_controls(home: str, served: Path, tab: Tab) -> None:
    tab.page.goto(track_of(served, home))
    tab.page.emulate_media(media="print")
    assert not tab.page.locator(".tools").is_visible()
    assert tab.page.locator(ROWS).first.is_visible()
    assert tab.page.locator("table[data-board] thead").bounding_box()["height"] > 10  # type: ignore[index]
    tab.page.set_viewport_size({"width": 700, "height": 990})  # A4 within its margins
    assert tab.page.locator(f"{ROWS} td").first.evaluate("c => c.offsetTop") == tab.page.locator(
        f"{ROWS} th"
    ).first.evaluate("c => c.offsetTop")  # a row is still a row
    assert tab.page.evaluate(RESIZED)
    assert tab.page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


def test_a_print_has_every_plot_and_no_links_to_other_pages(
    home: str, served: Path, tab: Tab
) -> None:
    tab.page.goto(track_of(served, home))
    everything = "[...document.images].every(image => image.complete && image.naturalWidth > 0)"
    wait_until(tab.page, everything)  # without a reader who comes near to them
    tab.page.emulate_media(media="print")
    assert not tab.page.locator(".bar nav").is_visible()
    tab.page.set_viewport_size({"width": 700, "height": 990})
    wait_until(tab.page, everything)
    for image in tab.page.locator("figure img").all():
        assert not image.evaluate("shown => shown.currentSrc").endswith("-narrow.svg")
        assert image.evaluate("shown => shown.getBoundingClientRect().height") < 990  # of a page
    hidden = "rows => rows.some(row => getComputedStyle(row).contentVisibility != 'visible')"
    assert not tab.page.locator(ROWS).evaluate_all(hidden)


def test_no_text_of_a_plot_is_cut_by_its_edge(home: str, served: Path, tab: Tab) -> None:
    """Whatever fonts this machine has: text was measured in another one."""
    script = """() => {
      const box = document.documentElement.getBoundingClientRect();
      const inside = (own) => own.left >= box.left && own.right <= box.right
        && own.top >= box.top && own.bottom <= box.bottom;
      return [...document.querySelectorAll("text")]
        .filter((text) => !inside(text.getBoundingClientRect()))
        .map((text) => text.textContent);
    }"""
    found = sorted((served / SUB_PATH / "plots").glob("busbra-*.svg"))
    assert len(found) >= 12
    for path in found:
        tab.page.goto(f"{home}plots/{path.name}")
        assert tab.page.evaluate(script) == [], path.name


def test_hostile_names_are_shown_and_do_nothing(home: str, served: Path, tab: Tab) -> None:
    tab.page.goto(track_of(served, home, "hostile"))
    assert HOSTILE[0] in tab.column("method")
    tab.page.locator("[data-key=method]").get_by_role("button").click()
    tab.page.get_by_label("Method or team").fill("<script>")
    assert tab.column("method") == [HOSTILE[0]]
    for number in range(1, len(HOSTILE) + 1):
        tab.page.goto(f"{home}submissions/{number}.html")
    assert tab.said == []
    assert all(url.startswith(home) for url in tab.asked)
