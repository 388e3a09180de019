"""The demo as a moving SVG: what `busbench demo` prints, line by line, in twenty seconds.

python docs/recording.py FOLDER    run the demo in a new folder, and write docs/demo.svg

FOLDER/demo is what it leaves; docs/screenshots.py takes its screenshots there.

Progress bars are left out. The SVG is text in the reader's own font, asks no other host, and ends
with all lines shown; who wants no motion sees them at once.
"""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from xml.sax.saxutils import escape

TARGET = Path(__file__).resolve().parent / "demo.svg"
COMMAND = "busbench demo"
SHOWN_SECONDS = 20.0  # however long it took
COLUMNS, CELL, LINE, SIZE, EDGE = 80, 8.4, 18, 14, 16  # characters; the rest in pixels
MARK = "✓"
BAR = re.compile(r"^\S.* (━+[╸╺]?━* +\d+|0/1 \d+:)")  # what does not fit of it is cut short
HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img">
<title>What busbench demo prints, from phantoms to a leaderboard</title>
<style>
text {{ font: {size}px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #d6e0e6;
white-space: pre; animation: shown 0.2s both }}
.mark {{ fill: #5fd38d }}
@keyframes shown {{ from {{ opacity: 0 }} }}
@media (prefers-reduced-motion: reduce) {{ text {{ animation: none }} }}
@media print {{ text {{ animation: none }} }}
</style>
<rect width="100%" height="100%" rx="8" fill="#13232b"/>
"""


def record(command: Sequence[str], folder: Path) -> list[tuple[float, str]]:
    """(seconds since the start, line) of all that a command prints; raises where it fails."""
    started, lines = time.monotonic(), []
    ours, its = pty.openpty()  # a pipe is given tables of any width
    plain = os.environ | {"TERM": "dumb"}  # of 80 columns, without colours
    with subprocess.Popen(command, cwd=folder, stdout=its, stderr=its, env=plain) as process:
        os.close(its)
        with os.fdopen(ours, encoding="utf-8", errors="replace") as shown, suppress(OSError):
            for line in shown:
                if BAR.match(line) is None:
                    lines.append((time.monotonic() - started, line.rstrip("\r\n")))
    if process.returncode:
        raise RuntimeError("\n".join(line for _, line in lines[-20:]))
    return lines


def folded(lines: Sequence[tuple[float, str]]) -> Iterator[tuple[float, str]]:
    """The lines as a terminal of `COLUMNS` characters shows them."""
    for at, line in lines:
        for begin in range(0, max(len(line), 1), COLUMNS):
            yield at, line[begin : begin + COLUMNS]


def drawn(lines: Sequence[tuple[float, str]]) -> str:
    """The SVG of recorded lines."""
    took = lines[-1][0] or 1.0
    rows = [(0.0, f"$ {COMMAND}"), *folded(lines)]
    width = 2 * EDGE + COLUMNS * CELL
    height = 2 * EDGE + LINE * len(rows)
    head = HEAD.format(width=width, height=height, size=SIZE)
    texts = [
        _text(line, EDGE + LINE * (number + 0.75), delay=SHOWN_SECONDS * at / took)
        for number, (at, line) in enumerate(rows)
        if line.strip()
    ]
    return f"{head}{''.join(texts)}</svg>\n"


def _text(line: str, y: float, *, delay: float) -> str:
    """One line, stretched to its cells: a table's columns meet in any font."""
    shown = escape(line)
    if line.startswith(MARK):
        shown = f'<tspan class="mark">{MARK}</tspan>{shown.removeprefix(MARK)}'
    place = f'x="{EDGE}" y="{y:g}" textLength="{len(line) * CELL:g}"'
    return f'<text {place} style="animation-delay:{delay:.1f}s">{shown}</text>\n'


def main() -> None:
    """Record the demo anew."""
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True)  # one that was run before would show no work
    lines = record([sys.executable, "-m", "harness", *COMMAND.split()[1:], *sys.argv[2:]], folder)
    TARGET.write_text(drawn(lines), "utf-8")
    print(f"{TARGET}: {len(lines)} lines, {TARGET.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
