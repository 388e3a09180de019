"""Progress of long work, reported across process and container boundaries.

A function that takes long accepts `progress: Progress = quiet`. In a container the callback is
`print_line`; the harness reads those lines from the log with `parse_line` and draws a bar.
"""

from __future__ import annotations

import re
from typing import Protocol

_LINE = re.compile(r"^progress (\d{1,9})/(\d{1,9}) ([^\x00-\x1f\x7f]{0,200})$")


class Progress(Protocol):
    """Called with what is being done, how many steps are done, and how many there are."""

    def __call__(self, what: str, done: int, total: int) -> None: ...


def quiet(what: str, done: int, total: int) -> None:
    """Report nothing."""


def print_line(what: str, done: int, total: int) -> None:
    """Report one line on standard output: `progress 3/10 what`."""
    print(f"progress {done}/{total} {what}", flush=True)


def parse_line(line: str) -> tuple[str, int, int] | None:
    """(what, done, total) where `line` is one that `print_line` wrote, else None."""
    match = _LINE.match(line.strip())
    if match is None:
        return None
    return match[3], int(match[1]), int(match[2])
