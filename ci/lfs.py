"""Git LFS pointers: recognised, and followed to the object by its digest.

A pointer is three lines (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md); its object is
named by SHA-256, so it does not matter who stores it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n"
    rb"oid sha256:([0-9a-f]{64})\nsize ([0-9]{1,12})\n"
)


@dataclass(frozen=True)
class Pointer:
    """What a file is: its SHA-256 and how many bytes it has."""

    sha256: str
    size: int


def parse_pointer(data: bytes) -> Pointer | None:
    """The pointer that `data` is, or None where it is the file itself."""
    found = POINTER.fullmatch(data)
    return None if found is None else Pointer(found[1].decode(), int(found[2]))


def stored_object(git_folder: Path, sha256: str) -> Path:
    """Where Git LFS keeps the object after `git lfs fetch`."""
    return git_folder / "lfs" / "objects" / sha256[:2] / sha256[2:4] / sha256
