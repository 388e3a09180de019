"""Commands on a page of the documentation, run as a reader would, and their output compared."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
import threading
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WIDTH = 100  # characters of the terminal that a page shows
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# What another machine or another hour prints: a device, a digest, a day, a measured number.
CHANGING = (
    (re.compile(r"^on .*?: latency"), "on DEVICE: latency"),
    (re.compile(r"\b[0-9a-f]{16,64}\b"), "DIGEST"),
    (re.compile(r"\b\d{4}-\d\d-\d\d(T[\d:]+Z)?"), "TIME"),
    (re.compile(r"-?\d+\.\d+|\b\d+(?= MiB| s\b)"), "NUMBER"),
)


@dataclass(frozen=True)
class Shown:
    """A command on a page."""

    command: str
    output: tuple[str, ...]  # the lines below it


def commands_of(block: str) -> list[Shown]:
    """The commands of a block that shows a terminal, in order."""
    joined = block.replace("\\\n", " ")
    found = re.split(r"^\$ ", joined, flags=re.MULTILINE)[1:]
    lines = [each.rstrip("\n").split("\n") for each in found]
    return [Shown(command, tuple(output)) for command, *output in lines]


def run_shown(command: str, folder: Path) -> tuple[str, ...]:
    """Run a command in a terminal of `WIDTH` characters; the lines that it prints to stdout.

    Raises:
        AssertionError: it failed; with all that it printed.
    """
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "TERM": "xterm",
        "NO_COLOR": "1",
    }
    for name in ("COLUMNS", "LINES"):
        environment.pop(name, None)
    terminal, inside = os.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 50, WIDTH, 0, 0))
    printed = bytearray()
    reader = threading.Thread(target=_read, args=(terminal, printed))
    with subprocess.Popen(
        command,
        shell=True,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=inside,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(inside)
        reader.start()
        _, errors = process.communicate()
    reader.join()
    os.close(terminal)
    text = ANSI.sub("", printed.decode().replace("\r\n", "\n"))
    assert process.returncode == 0, f"{command}\n{text}\n{errors.decode()}"
    return tuple(line.rstrip() for line in text.rstrip("\n").split("\n"))


def _read(terminal: int, into: bytearray) -> None:
    while True:
        try:
            data = os.read(terminal, 65536)
        except OSError:  # EIO: nobody has the other end any more
            return
        if not data:
            return
        into += data


def stable(line: str) -> str:
    """A line without what another machine or another hour prints, and without its alignment."""
    for pattern, name in CHANGING:
        line = pattern.sub(name, line)
    return re.sub(r"[─\s]+", " ", line).strip()


def differs(shown: tuple[str, ...], printed: tuple[str, ...]) -> str | None:
    """Which shown line is not what was printed; None where the page is right.

    A shown line `...` is any number of lines. Lines without anything in them do not count.
    """
    left = [line for line in map(stable, printed) if line]
    wanted = [line for line in map(stable, shown) if line]
    skips = False
    for line in wanted:
        if line == "...":
            skips = True
            continue
        if skips:
            left = left[left.index(line) :] if line in left else []
        if not left or left[0] != line:
            return f"shown: {line!r}, printed: {left[:1]}"
        left, skips = left[1:], False
    return f"not shown: {left[0]!r}" if left and not skips else None
