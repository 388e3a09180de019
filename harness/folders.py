"""Folders that appear whole: filled beside their place, and readable for containers where asked."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

from evaluator.errors import BusbenchError, Code
from evaluator.files import disk_errors
from harness.locking import locked

_OURS = ".busbench."  # begins names in a folder that is there and empty


def is_free(place: Path) -> bool:
    """Whether `place` is new, or a folder that is empty but for what the harness has there now."""
    if not place.is_dir():
        return not place.exists()
    return all(path.name.startswith(_OURS) for path in place.iterdir())


def require_free(place: Path) -> None:
    """Raise `output-exists` where `place` is anything but a new or an empty folder."""
    with disk_errors(place):
        free = is_free(place)
    if not free:
        raise BusbenchError(Code.OUTPUT_EXISTS, f"{place} is not empty.", "Name a new folder.")


def beside(place: Path, suffix: str) -> Path:
    """A name for what is needed while `place` is made, on the same disk."""
    return (
        place / f"{_OURS}{suffix}" if place.is_dir() else place.with_name(f".{place.name}.{suffix}")
    )


@contextmanager
def one_at_a_time(place: Path) -> Iterator[None]:
    """Let others who would make `place` wait here, and then find it made.

    Raises:
        BusbenchError: `disk-full`, `permission-denied`.
    """
    place = place.absolute()
    others = place.with_name(f".{place.name}.lock")  # who began when nothing was there yet
    lock = others if others.exists() else beside(place, "lock")
    with disk_errors(place):
        found = not is_free(place) and not lock.exists()  # it may be on a disk for reading alone
    with nullcontext() if found else locked(lock):
        yield


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
    with locked(beside(place, "partial.lock")), disk_errors(place):
        require_free(place)  # another process may have been faster
        given = place.is_dir()
        partial = beside(place, "partial")
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


def keep_from_git(secret: Path) -> None:
    """Have git leave out a file with a secret, where it lies in a working tree that takes it."""
    asked = ["git", "-C", str(secret.parent), "check-ignore", "-q", secret.name]
    try:
        status = subprocess.run(asked, capture_output=True, check=False).returncode
    except OSError:
        return  # without git, nothing is added to it here
    if status == 1:  # it would be taken; 128 is no working tree
        with (secret.parent / ".gitignore").open("a+", encoding="utf-8") as listed:
            listed.write(f"\n/{secret.name}\n")


def let_all_read(folder: Path) -> None:
    """Make a folder of ours readable for everybody, as containers run as nobody.

    Without it, the user's umask would decide whether a submission can be evaluated.
    """
    for root, _, names in os.walk(folder):
        Path(root).chmod(0o755)
        for path in (Path(root) / name for name in names):
            if not path.is_symlink():  # its target may be anybody's
                path.chmod(0o644)
