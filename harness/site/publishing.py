"""How does a new site take the old one's place, and never stand there half-written?

The site is built beside its place and moved there whole. Nothing is published but a ledger that
holds, and no folder is replaced but a site.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from evaluator.errors import BusbenchError
from evaluator.files import disk_errors, write_atomically
from harness.ledger import verify_ledger
from harness.ranking import Board, make_board
from harness.site.pages import FILES, render


def publish(ledger: Path, out: Path) -> Board:
    """Write the site of `ledger` to the folder `out`. The same ledger gives the same bytes.

    Raises:
        BusbenchError: `ledger-invalid` where the ledger does not hold; `output-exists` where
            `out` holds anything but an earlier site; `disk-full` where the disk refuses.
    """
    board = make_board(verify_ledger(ledger))
    files = render(board)
    place = out.resolve()  # a link to a served folder stays a link
    with disk_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        with _locked(place.parent):
            _demand_site(place)
            _swap_in(place, files)
    return board


def _swap_in(place: Path, files: Mapping[str, bytes]) -> None:
    partial, old = (place.with_name(f".{place.name}.{end}") for end in ("partial", "old"))
    for left in (partial, old):  # by a killed run
        shutil.rmtree(left, ignore_errors=True)
    for name, data in files.items():
        write_atomically(partial / name, data)
    if place.exists():
        place.rename(old)
    partial.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def _demand_site(place: Path) -> None:
    """Refuse to replace what is not an earlier site, or holds more than one."""
    if not place.exists():
        return
    names = {path.name for path in place.iterdir()} if place.is_dir() else {place.name}
    if place.is_dir() and (not names or (names <= set(FILES) and _is_board(place / "board.json"))):
        return
    raise BusbenchError(
        "output-exists",
        f"{place} holds something that is not a site of ours.",
        "Name a folder for the site alone, and copy it from there to where it is served.",
    )


def _is_board(path: Path) -> bool:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    schema = document.get("schema") if isinstance(document, dict) else None
    return str(schema).startswith("busbench/board/")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time swap sites in `folder`."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
