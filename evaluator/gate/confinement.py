"""Landlock: a process gives up every change outside its own folder before it opens a model.

A model that takes over its process then can't write the verdict, nor anything else: it may neither
write, remove, make nor run files elsewhere, nor trace or signal the process that judges it. No
privilege is needed for that, so it works for a container's user without capabilities.

Source: https://docs.kernel.org/userspace-api/landlock.html (Linux 5.13; signals from 6.12).
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # system calls, the same on every architecture
_VERSION = 1
_BENEATH = 1  # the kind of rule
_NO_NEW_PRIVILEGES = 38  # prctl
# Rights to files: run, write, remove a folder, remove a file, make any of seven kinds of them.
_CHANGES = 1 << 0 | 1 << 1 | sum(1 << bit for bit in range(4, 13))
# From a version on: move between folders, cut short, control devices.
_LATER = {2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
_TCP = 0b11  # bind and connect, from version 4
_SCOPES = 0b11  # abstract sockets and signals, from version 6


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("files", ctypes.c_uint64),
        ("network", ctypes.c_uint64),
        ("scopes", ctypes.c_uint64),
    )


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def landlock_version() -> int:
    """The kernel's version of Landlock; 0 where it has none or a profile denies it."""
    return max(0, _call(_CREATE, None, 0, _VERSION))


def confine(own: Path) -> bool:
    """Take from this process, and all it starts, every change outside the folder `own`.

    Returns:
        Whether it was done: not on a kernel without Landlock.

    Raises:
        OSError: the kernel has Landlock and refuses.
    """
    version = landlock_version()
    if not version:
        return False
    files = _CHANGES | sum(right for since, right in _LATER.items() if version >= since)
    rules = _Ruleset(files, _TCP, _SCOPES)
    size = 8 if version < 4 else 16 if version < 6 else 24  # what the version knows of it
    handle = _checked(_CREATE, ctypes.byref(rules), size, 0)
    folder = os.open(own, os.O_PATH | os.O_CLOEXEC)
    beneath = _Beneath(files & ~1, folder)  # nothing is run there either
    _checked(_ADD, handle, _BENEATH, ctypes.byref(beneath), 0)
    if ctypes.CDLL(None, use_errno=True).prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    _checked(_RESTRICT, handle, 0)
    os.close(folder)
    os.close(handle)
    return True


def _call(number: int, *arguments: object) -> int:
    return int(ctypes.CDLL(None, use_errno=True).syscall(number, *arguments))


def _checked(number: int, *arguments: object) -> int:
    result = _call(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), "Landlock")
    return result
