"""Reports of a training: progress lines, a CSV file beside the checkpoint, TensorBoard's events.

The form `progress DONE/TOTAL what` is the one from which the harness draws its bars; the two
packages share no code. The events are written by tensorboardX: it needs no TensorBoard, which is
many times its size.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reference_models.errors import UsageError
from reference_models.files import disk_errors, write_atomically

Progress = Callable[[str, int, int], None]  # what is being done, steps done, steps in all
Say = Callable[[str], None]  # one line for a person


def quiet(what: str, done: int, total: int) -> None:
    """Report nothing."""


def silent(line: str) -> None:
    """Say nothing."""


def print_line(what: str, done: int, total: int) -> None:
    """Report one line on standard output: `progress 3/10 what`."""
    say_line(f"progress {done}/{total} {what}")


def say_line(line: str) -> None:
    """Say one line on standard output, at once."""
    print(line, flush=True)


def write_csv(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write one line a validation.

    Raises:
        MachineError: where the disk refuses.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(history[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    write_atomically(path, text.getvalue().encode())


class Events:
    """The scalars of one fold's validations, for TensorBoard; nothing where `folder` is None.

    Args:
        step: the step that training goes on from; what was shown of later ones is withdrawn.

    Raises:
        UsageError: tensorboardX is not installed.
        MachineError: where the disk refuses.
    """

    def __init__(self, folder: Path | None, fold: int, step: int) -> None:
        self._writer: Any = None
        if folder is None:
            return
        try:
            from tensorboardX import SummaryWriter  # noqa: PLC0415  an extra
        except ImportError as error:
            raise UsageError(
                "--tensorboard needs the package tensorboardX.",
                "Run pip install -e '.[tensorboard]' in your checkout of BUSBench, or drop it.",
            ) from error
        with disk_errors(folder):
            self._writer = SummaryWriter(str(folder / f"fold-{fold}"), purge_step=step + 1)

    def add(self, row: Mapping[str, Any]) -> None:
        """Show one validation."""
        if self._writer is None:
            return
        with disk_errors(Path(self._writer.logdir)):
            for name, value in row.items():
                if name != "step" and value is not None:
                    self._writer.add_scalar(name, value, row["step"])
            self._writer.flush()

    def close(self) -> None:
        """Write out what waits."""
        if self._writer is not None:
            self._writer.close()
