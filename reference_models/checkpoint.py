"""Checkpoints of a training: two generations, each whole or not there.

A file is one line, `busbench-checkpoint SHA-256`, and then what `torch.save` wrote. PyTorch itself
would load a file with flipped bits; the digest does not.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from reference_models.files import disk_errors, sha256_bytes, write_atomically
from reference_models.logs import Say, silent

_MAGIC = b"busbench-checkpoint "
_LONGEST_HEAD = 128  # bytes
State = dict[str, Any]


def save_checkpoint(path: Path, state: State) -> None:
    """Write `state` (tensors and plain values) to `path`, keeping the one before beside it.

    Raises:
        MachineError: where the disk refuses; the checkpoint before stays.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getbuffer()  # not a copy: the state of a large network takes gigabytes
    waiting = path.with_suffix(".next")
    write_atomically(waiting, _MAGIC + sha256_bytes(payload).encode() + b"\n", payload)
    with disk_errors(path):
        if path.exists():
            path.replace(previous(path))
        waiting.replace(path)


def load_checkpoint(path: Path, say: Say = silent) -> State | None:
    """The newest whole checkpoint at `path`, its tensors on the CPU; None where there is none."""
    return next(_whole(path, say), None)


def previous(path: Path) -> Path:
    """Where the checkpoint before the one at `path` lies."""
    return path.with_suffix(".previous")


def _whole(path: Path, say: Say) -> Iterator[State]:
    for candidate in (path, previous(path)):
        if not candidate.exists():
            continue
        state = _read(candidate)
        if state is None:
            say(f"{candidate} is corrupt; falling back to the checkpoint before.")
        else:
            yield state


def _read(path: Path) -> State | None:
    with path.open("rb") as file:
        head, payload = file.readline(_LONGEST_HEAD), io.BytesIO(file.read())
    if head != _MAGIC + sha256_bytes(payload.getbuffer()).encode() + b"\n":
        return None
    try:
        state = torch.load(payload, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError):
        return None
    return state if isinstance(state, dict) else None
