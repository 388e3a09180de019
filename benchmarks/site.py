"""Weight of a track's page, time until it is drawn on a phone, and time to sort it.

With 50, 100 and 1,000 submissions. A real Chromium clicks on each heading, and everything is laid
out anew; the time is what the page's thread spent on that, on its processor. The phone is one of
360 pixels whose processor is `SLOWER` times slower: from the start until something is drawn, and
what its thread spent on scripts. Run from the project's root: `python -m benchmarks.site`.
"""

from __future__ import annotations

import random
import statistics
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from shutil import which

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.made import make_report
from benchmarks.timing import head, machine, row
from harness.ledger import append, sign, verify_ledger
from harness.ranking import Row
from harness.sealing.keys import Keys
from harness.website.edition import Edition
from harness.website.pages.site import SCRIPTS, render

SIZES = (50, 100, 1000)
SLOWER = 4
KEYS = ("dice", "hd95", "method", "gmacs", "rank")
CLICK = """(key) => {
  document.querySelector(`[data-key=${key}] button`).click();
  document.body.offsetHeight;
}"""


def varied(pattern: Row, rank: int, chance: random.Random) -> Row:
    """A row of another name, rank and scores."""
    everything = pattern.groups["all"]
    metrics = {
        key: found.model_copy(update={"mean": chance.random()})
        for key, found in everything.metrics.items()
    }
    groups = {**pattern.groups, "all": everything.model_copy(update={"metrics": metrics})}
    name = f"method {chance.random():.4f}"
    return pattern.model_copy(update={"rank": rank, "groups": groups, "method": name})


def make_site(folder: Path, number: int) -> tuple[Path, int]:
    """A track's page with so many rows, and what a reader loads before plots, in bytes."""
    keys, ledger = Keys.new(folder / "keys"), folder / "ledger.jsonl"
    append(ledger, sign(make_report(gap=0.02), keys), keys)
    edition = Edition.of(verify_ledger(ledger), ledger.read_bytes())
    (track,) = edition.board.tracks
    chance = random.Random(number)
    rows = tuple(varied(track.rows[0], rank, chance) for rank in range(1, number + 1))
    board = edition.board.model_copy(update={"tracks": (track.model_copy(update={"rows": rows}),)})
    files = render(Edition(board, edition.ledger, edition.reports))
    for name, data in files.items():
        (folder / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "site" / name).write_bytes(data)
    page = next(name for name in files if name.startswith("tracks/"))
    loaded = (page, "style.css", *SCRIPTS, "icon.svg")
    return folder / "site" / page, sum(len(files[name]) for name in loaded)


def sort_times(tab: Page) -> list[float]:
    """What each of several clicks costs the page's thread, in milliseconds."""
    session = tab.context.new_cdp_session(tab)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    spent = []
    for key in ("", *(5 * KEYS)):
        if key:
            tab.evaluate(CLICK, key)
        found = session.send("Performance.getMetrics")["metrics"]
        spent.append(next(float(one["value"]) for one in found if one["name"] == "TaskDuration"))
    return [1000 * (after - before) for before, after in pairwise(spent)]


def on_a_phone(browser: Browser, page: Path) -> tuple[float, float]:
    """Milliseconds until something is drawn, and of scripts."""
    context = browser.new_context(viewport={"width": 360, "height": 740}, is_mobile=True)
    tab = context.new_page()
    session = context.new_cdp_session(tab)
    session.send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    tab.goto(page.as_uri())
    painted = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
    tab.wait_for_function(painted.removesuffix(".startTime"))
    drawn = float(tab.evaluate(painted))
    found = session.send("Performance.getMetrics")["metrics"]
    context.close()
    return drawn, 1000 * next(
        float(one["value"]) for one in found if one["name"] == "ScriptDuration"
    )


def main() -> None:
    chromium = which("chromium") or sys.exit("no chromium is installed")
    print(f"{machine()}.\n")
    heads = ("phone, drawn", "phone, scripts", "sort, median", "slowest")
    print(head("submissions", "before plots", *heads, text=0))
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        flags = ["--headless", "--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        for number in SIZES:
            (Path(folder) / str(number)).mkdir()
            page, size = make_site(Path(folder) / str(number), number)
            phone = [f"{spent:.0f} ms" for spent in on_a_phone(browser, page)]
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            tab.goto(page.as_uri())
            times = sort_times(tab)
            costs = (f"{statistics.median(times):.0f} ms", f"{max(times):.0f} ms")
            print(row(number, f"{size / 1000:.0f} kB", *phone, *costs))
        browser.close()


if __name__ == "__main__":
    main()
