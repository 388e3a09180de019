"""The command line, called in this process: starting Python anew takes longer than all the rest."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from harness.cli import main


@dataclass(frozen=True)
class Shown:
    """How a verb ended, and what it printed."""

    status: int
    out: str
    err: str


Busbench = Callable[..., Shown]


def busbench_in(capture: pytest.CaptureFixture[str], *words: object) -> Shown:
    """Call `busbench WORDS`, with the two streams that `capture` takes."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(sys, "argv", ["busbench", *map(str, words)])
        main()
    return Shown(int(ended.value.code or 0), *capture.readouterr())
