"""Folders that appear whole: filled beside their place, and readable for containers where asked."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from evaluator.errors import BusbenchError, Code
from evaluator.files import disk_errors

_PARTIAL = ".busbench.partial"  # in a folder that is there and empty


def require_free(place: Path) -> None:
    """Raise `output-exists` where `place` is anything but a new or an empty folder."""
    with disk_errors(place):
        taken = place.exists() and (
            not place.is_dir() or any(path.name != _PARTIAL for path in place.iterdir())
        )
    if taken:
        raise BusbenchError(Code.OUTPUT_EXISTS, f"{place} is not empty.", "Name a new folder.")


@contextmanager
def whole_folder(place: Path, last: str | None = None) -> Iterator[Path]:
    """Yield a folder to fill, which becomes `place` at the end and is removed after an error.

    An empty folder that is there stays the same folder, since it may be where the user is, or a
    mounted disk: what was made is moved into it.

    Args:
        last: the file whose presence means that the folder is whole.

    Raises:
        BusbenchError: `output-exists`, `disk-full`, `permission-denied`.
    """
    require_free(place)
    place = place.absolute()
    given = place.is_dir()
    partial = place / _PARTIAL if given else place.with_name(f".{place.name}.partial")
    with disk_errors(place):
        shutil.rmtree(partial, ignore_errors=True)  # what a killed run left
        try:
            partial.mkdir(parents=True)
            yield partial
            if given:
                for path in sorted(partial.iterdir(), key=lambda path: path.name == last):
                    path.rename(place / path.name)
            else:
                partial.replace(place)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def require_same(place: Path, differing: Mapping[str, bool]) -> None:
    """Raise `output-exists` where finished work in `place` was asked for with other settings.

    Args:
        differing: whether it differs, by the setting's name on the command line.
    """
    names = [name for name, differs in differing.items() if differs]
    if names:
        message = f"{place} is there already, made with another {' and another '.join(names)}."
        remedy = "Name a new folder, or run the command with the settings of the first run."
        raise BusbenchError(Code.OUTPUT_EXISTS, message, remedy)


def let_all_read(folder: Path) -> None:
    """Make a folder of ours readable for everybody, as containers run as nobody.

    Without it, the user's umask would decide whether a submission can be evaluated.
    """
    for root, _, names in os.walk(folder):
        Path(root).chmod(0o755)
        for name in names:
            (Path(root) / name).chmod(0o644)
