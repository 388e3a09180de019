"""Progress bars on standard error: one bar for each thing that is being done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from evaluator.progress import Progress
from harness.cli.app import err


@contextmanager
def bars() -> Iterator[Progress]:
    """Yield a `Progress` that draws a bar with an estimate for each new `what`."""
    with err.bars() as drawn:
        yield drawn.update
