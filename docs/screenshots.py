"""Screenshots for these pages: a board, outlined predictions, a ledger that was checked.

python docs/recording.py FOLDER    first: the demo, whose folder is read here
python docs/screenshots.py FOLDER  write docs/board.png, overlays.webp and checked.png

The board is of simulated results, the other two are of the demo's. They need Chromium.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))  # for what tests are made with

COLOURS = 96  # of a PNG: small files, and no shade that is missed
QUALITY = 60  # of a WebP, for ultrasound


class Screenshot(NamedTuple):
    """A part of a page, as a browser shows it."""

    name: str
    page: Path
    width: int
    height: int
    click: str = ""  # what is clicked first


def simulated_site(folder: Path) -> Path:
    """A site of ten simulated methods."""
    from harness.challenge import Challenge, Track  # noqa: PLC0415  after the path is set
    from harness.sealing.keys import Keys  # noqa: PLC0415
    from harness.website import publish  # noqa: PLC0415
    from tests.support.simulated import simulate  # noqa: PLC0415

    folder.mkdir()
    keys = Keys.new(folder / "keys")
    (report, *_) = simulate(keys, folder / "ledger.jsonl")
    track = Track(
        title="Simulated results", dataset=report.dataset, split_version=report.split_version,
        folds=2,
    )  # fmt: skip
    challenge = Challenge(title="BUSBench", tracks={report.track: track})
    publish(folder / "ledger.jsonl", folder / "site", [], challenge=challenge)
    return next((folder / "site" / "tracks").glob("*.html"))


def validated(folder: Path) -> Path:
    """The page of the outlined predictions of the demo's trained network."""
    place = folder / "validation"
    words: list[str | Path] = ["evaluate", folder / "demo/submissions/unext", "--part", "val"]
    words += ["--bundle", folder / "demo/bundles", "--runner", "process", "--out", place]
    subprocess.run([sys.executable, "-m", "harness", *map(str, words)], check=True)
    return next(place.glob("val-*/overlays.html"))


def take(browser: Browser, shot: Screenshot) -> None:
    """Write a screenshot to this folder."""
    page = browser.new_page(viewport={"width": shot.width, "height": shot.height})
    page.goto(shot.page.resolve().as_uri())
    if shot.click:
        page.click(shot.click)
        page.wait_for_timeout(3000)
        page.evaluate("scrollTo(0, 0)")
    with Image.open(io.BytesIO(page.screenshot())) as image:
        whole = image.convert("RGB")
    if shot.name.endswith(".webp"):
        whole.save(DOCS / shot.name, quality=QUALITY, method=6)
    else:
        few = whole.quantize(COLOURS, dither=Image.Dither.NONE)
        few.save(DOCS / shot.name, optimize=True)
    print(f"{shot.name}: {(DOCS / shot.name).stat().st_size / 1000:.0f} kB")
    page.close()


def main() -> None:
    """Take all screenshots anew."""
    folder = Path(sys.argv[1]).resolve()
    shots = (
        Screenshot("board.png", simulated_site(folder / "simulated"), 1000, 680),
        Screenshot("overlays.webp", validated(folder), 1000, 560),
        Screenshot("checked.png", folder / "demo/site/check.html", 1000, 620, "#run"),
    )
    found = os.environ.get("BUSBENCH_CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        for shot in shots:
            take(browser, shot)


if __name__ == "__main__":
    main()
