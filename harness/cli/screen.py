"""The terminal, as verbs see it: lines, tables and bars of harmless text, and nothing is markup.

The one module of the command line that knows the library which draws. A name such as `[/b]` would
be its markup, and end a verb with a traceback after the ledger was written.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from evaluator.harmless import Harmless, harmless

Style = Literal["", "green", "yellow", "bold red", "italic", "italic dim"]


class Styled(NamedTuple):
    """Text in a style."""

    text: Harmless
    style: Style


Part = Harmless | Styled
COLUMN_GAP = 3  # characters that a column takes beside its text
UNLIMITED = 10_000  # characters: nobody looks at a file or a pipe through a window


class Grid:
    """A table: columns first, then rows.

    Args:
        headed: whether heads are shown, and ruled off.
    """

    def __init__(self, title: Harmless, *heads: Harmless, headed: bool = True) -> None:
        self.drawn = Table(
            title=Text(title) if title else None,
            title_justify="left",
            box=SIMPLE_HEAD if headed else None,
            show_header=headed,
        )
        for head in heads:
            self.column(head)

    def column(
        self, head: Harmless, *, right: bool = False, whole: bool = False, width: int = 0
    ) -> None:
        """Add a column.

        Args:
            right: whether numbers are in it.
            whole: whether its cells are never broken.
            width: the least, in characters.
        """
        self.drawn.add_column(
            Text(head),
            justify="right" if right else "left",
            no_wrap=whole,
            overflow="fold",
            min_width=width or None,
        )

    def row(self, *cells: Part) -> None:
        """Add a row."""
        self.drawn.add_row(*map(_text, cells))

    @property
    def least_width(self) -> int:
        """In characters: of cells that are never broken, and of the least of the others."""
        least = sum(
            max(cell_len(str(cell)) for cell in (column.header, *column.cells))
            if column.no_wrap
            else column.min_width or 1
            for column in self.drawn.columns
        )
        return least + COLUMN_GAP * len(self.drawn.columns) + 1


class Bars:
    """Bars of what is going on: one for each thing that is being done."""

    def __init__(self, display: Progress) -> None:
        self._display = display
        self._tasks: dict[str, TaskID] = {}

    def update(
        self, what: str, done: int, total: int | None, *, shown: Harmless | None = None
    ) -> None:
        """Draw how far `what` is, under the name `shown`; a new `what` gets a bar."""
        if what not in self._tasks:
            self._tasks[what] = self._display.add_task("", total=total)
        name = harmless(what) if shown is None else shown
        task = self._tasks[what]
        self._display.update(task, description=name, completed=done, total=total)

    def clear(self, *, but: str) -> None:
        """Take all bars away but one."""
        for what in self._tasks.keys() - {but}:
            self._display.remove_task(self._tasks.pop(what))


class Screen:
    """One of the two streams of the terminal."""

    def __init__(self, *, stderr: bool = False) -> None:
        self._console = Console(stderr=stderr, markup=False, highlight=False, emoji=False)
        if not self._console.is_terminal:
            self._console.width = UNLIMITED

    @property
    def width(self) -> int:
        """In characters."""
        return self._console.width

    @width.setter
    def width(self, characters: int) -> None:
        self._console.width = characters

    def print(self, *parts: Part) -> None:
        """Print one line, unbroken: a terminal wraps it, and a path in it can be copied."""
        self._console.print(Text(" ").join(map(_text, parts)), soft_wrap=True)

    def draw(self, grid: Grid) -> None:
        """Print a table, as wide as the terminal or as what must not be broken."""
        width = max(self.width, grid.least_width)
        self._console.print(grid.drawn, width=width, crop=False, no_wrap=True, overflow="ignore")

    def note(self, text: Harmless) -> None:
        """Print what is below a table, wrapped like it."""
        self._console.print(_text(Styled(text, "italic dim")))

    @contextmanager
    def bars(self, *, timed: bool = True) -> Iterator[Bars]:
        """Draw bars until the end; `timed`: with counts, and estimates of the time."""
        columns: list[ProgressColumn] = [TextColumn("{task.description}", markup=False)]
        columns.append(BarColumn())
        if timed:
            columns += [MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()]
        with Progress(*columns, console=self._console) as display:
            yield Bars(display)


def _text(part: Part) -> Text:
    return Text(*part) if isinstance(part, Styled) else Text(part)


def print_json(value: object) -> None:
    """Print `value` as JSON on standard output, for scripts; in ASCII, which steers no terminal."""
    text = json.dumps(value, indent=2, sort_keys=True)
    # two that JSON leaves: a control character, and what begins a command of some CI systems
    text = text.replace("\x7f", r"\u007f").replace("##", r"#\u0023")
    sys.stdout.write(f"{text}\n")


def print_document(text: str) -> None:
    """Print a document whose format has escaped what is not its own, such as a table."""
    sys.stdout.write(text)


def never_fail_to_print() -> None:
    """Have characters that the terminal's encoding lacks replaced, rather than end the verb."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
