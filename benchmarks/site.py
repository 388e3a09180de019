"""How heavy is a track's page, and how long does it take to sort? 100 and 1,000 submissions.

A real Chromium clicks on each heading, and everything is laid out anew; the time is what the page's
thread spent on that, on its processor. Run from the project's root: `python -m benchmarks.site`.
"""

from __future__ import annotations

import random
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import CDPSession, Page, sync_playwright

from benchmarks.made import make_report
from benchmarks.timing import machine
from harness.ledger import append, sign, verify_ledger
from harness.ranking import Row
from harness.sealing.keys import Keys
from harness.website.edition import Edition
from harness.website.pages import render

SIZES = (100, 1000)
KEYS = ("dice", "hd95", "method", "gflops", "rank")
CLICK = """(key) => {
  const button = document.querySelector(`[data-key=${key}] button`);
  button.click();
  document.body.offsetHeight;
}"""


def rows(pattern: Row, number: int) -> Iterator[Row]:
    """Rows of different names, ranks and scores."""
    chance = random.Random(number)
    everything = pattern.groups["all"]
    for rank in range(1, number + 1):
        metrics = {
            key: found.model_copy(update={"mean": chance.random()})
            for key, found in everything.metrics.items()
        }
        groups = {**pattern.groups, "all": everything.model_copy(update={"metrics": metrics})}
        name = f"method {chance.random():.4f}"
        yield pattern.model_copy(update={"rank": rank, "groups": groups, "method": name})


def make_site(folder: Path, number: int) -> tuple[Path, int]:
    """A track's page with so many rows, and what a reader loads before plots, in bytes."""
    keys, ledger = Keys.new(folder / "keys"), folder / "ledger.jsonl"
    append(ledger, sign(make_report(gap=0.02), keys), keys)
    edition = Edition.of(verify_ledger(ledger), ledger.read_bytes())
    (track,) = edition.board.tracks
    full = track.model_copy(update={"rows": tuple(rows(track.rows[0], number))})
    board = edition.board.model_copy(update={"tracks": (full,)})
    files = render(Edition(board, edition.ledger, edition.reports))
    for name, data in files.items():
        (folder / "site" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "site" / name).write_bytes(data)
    page = next(name for name in files if name.startswith("tracks/"))
    loaded = (page, "style.css", "board.js", "icon.svg")
    return folder / "site" / page, sum(len(files[name]) for name in loaded)


def busy(session: CDPSession) -> float:
    """Milliseconds that the page's thread has been at work so far."""
    found = session.send("Performance.getMetrics")["metrics"]
    return 1000 * next(float(one["value"]) for one in found if one["name"] == "TaskDuration")


def sort_times(tab: Page) -> list[float]:
    """What each of several clicks costs, in milliseconds."""
    session = tab.context.new_cdp_session(tab)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})
    times = []
    for key in 5 * KEYS:
        before = busy(session)
        tab.evaluate(CLICK, key)
        times.append(busy(session) - before)
    return times


def main() -> int:
    chromium = shutil.which("chromium")
    if chromium is None:
        print("no chromium is installed", file=sys.stderr)
        return 1
    print(f"{machine()}.\n\n| submissions | before plots | sort, median | slowest |")
    print("| ---: | ---: | ---: | ---: |")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        flags = ["--headless", "--no-sandbox", "--disable-gpu"]
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        for number in SIZES:
            place = Path(folder) / str(number)
            place.mkdir()
            page, size = make_site(place, number)
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            tab.goto(page.as_uri())
            times = sort_times(tab)
            middle, slowest = statistics.median(times), max(times)
            print(f"| {number} | {size / 1000:.0f} kB | {middle:.0f} ms | {slowest:.0f} ms |")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
