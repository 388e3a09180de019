"""Errors of this package: whose fault a failure is, and what to do about it.

The exit statuses agree with the harness's: 2 usage, 10 the training, 20 the bundle, 30 the machine.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar


class ModelsError(Exception):
    """A failure that its reader can repair.

    Args:
        message: one sentence that names the file or thing concerned.
        remedy: one sentence that says what to do.
    """

    status = 1

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(f"{message} {remedy}")
        self.message = message
        self.remedy = remedy


class UsageError(ModelsError):
    """An unknown name, a setting that contradicts itself, a size a network cannot take."""

    status = 2


class TrainingError(ModelsError):
    """Training or export ended without a model worth handing in."""

    status = 10


class BundleError(ModelsError):
    """The training bundle is missing, incomplete, was changed, or contains test cases."""

    status = 20


class MachineError(ModelsError):
    """The disk is full or read-only, or the device asked for is not there."""

    status = 30


Value = TypeVar("Value")


def chosen(kind: str, name: str, table: Mapping[str, Value]) -> Value:
    """The row of a table; raises UsageError naming the nearest where there is none."""
    if name not in table:
        raise UsageError(f"There is no {kind} {name!r}.", nearest(name, table))
    return table[name]


def nearest(name: str, known: Iterable[str]) -> str:
    """A remedy sentence: the known name nearest to `name`, and all there are."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    guess = f"Did you mean {close[0]!r}? " if close else ""
    return f"{guess}Known: {', '.join(names)}."
