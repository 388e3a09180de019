"""Bounded log reader: forwards progress lines, keeps the end, and fills nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path

from evaluator.files import write_atomically
from evaluator.harmless import harmless
from evaluator.progress import Progress, parse_line

LOG_MB = 8  # that are kept of a log: its end
MAX_LINE = 4096  # bytes; the rest of a longer one is dropped
MAX_BARS = 32  # a stage that names more things than that is only filling the terminal
TAIL_LINES = 40


class LogReader:
    """Reads a log as it comes."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: set[str] = set()
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)

    def follow(self, chunks: Iterable[bytes]) -> None:
        """Read to the end."""
        for line in lines(chunks):
            step = parse_line(line)
            if step is None:
                self._tail.append(line)
            elif step[0] in self._bars or len(self._bars) < MAX_BARS:
                self._bars.add(step[0])
                self._progress(*step)

    @property
    def tail(self) -> str:
        """The last lines that report no progress."""
        return "\n".join(self._tail)


def write_log(path: Path, log: bytes) -> None:
    """Keep a whole log such that a terminal can show it: line by line, as harmless text."""
    shown = (f"{harmless(line)}\n".encode() for line in lines([log]))
    write_atomically(path, shown)


def lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Whole lines of a stream of chunks; an endless line is cut."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line[:MAX_LINE].decode(errors="replace") for line in whole)
        rest = rest[:MAX_LINE]
    if rest:
        yield rest.decode(errors="replace")
