"""How long work tells where it stands: lines on standard output that a harness can read.

The form `progress DONE/TOTAL what` is the one the harness draws bars from; rooms share no code.
"""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Called with what is being done, how many steps are done, and how many there are."""

    def __call__(self, what: str, done: int, total: int) -> None: ...


class Say(Protocol):
    """Called with one line for a person."""

    def __call__(self, line: str, /) -> None: ...


def quiet(what: str, done: int, total: int) -> None:
    """Report nothing."""


def silent(line: str) -> None:
    """Say nothing."""


def print_line(what: str, done: int, total: int) -> None:
    """Report one line on standard output: `progress 3/10 what`."""
    print(f"progress {done}/{total} {what}", flush=True)


def say_line(line: str) -> None:
    """Say one line on standard output."""
    print(line, flush=True)
