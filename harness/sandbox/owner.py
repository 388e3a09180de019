"""Owner labels: the harness process that started a container or volume, and whether it still lives.

A process number alone is not enough: it is used again after a while, after a reboot at once, and
another container's process of the same number is somebody else. So the label also has the host,
the boot, the process namespace and the time the process started; what cannot be judged is kept.
"""

from __future__ import annotations

import os
import platform
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_SEPARATOR = "/"


def owner() -> str:
    """The label of this very process."""
    pid = str(os.getpid())
    return _SEPARATOR.join((*_place(), pid, _started(pid)))


def is_gone(label: str) -> bool:
    """Whether the process behind a label of `owner` is certainly no more."""
    parts = label.split(_SEPARATOR)
    if len(parts) != 5 or not parts[3].isdecimal():  # an image may bring any label
        return False
    host, boot, namespace, pid, started = parts
    here = _place()
    if host != here[0] or not boot or not here[1]:
        return False  # another machine, or one that does not say
    if boot != here[1]:
        return True  # before a reboot
    return namespace == here[2] and _started(pid) != started


def _place() -> tuple[str, str, str]:
    """Host, boot and process namespace; empty where this system does not say."""
    try:
        return platform.node(), _BOOT.read_text().strip(), _namespace()
    except OSError:
        return platform.node(), "", ""


def _namespace() -> str:
    return str(Path("/proc/self/ns/pid").readlink()).strip("pid:[]")


def _started(pid: str) -> str:
    """When a process started, in clock ticks since the boot; empty where there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]  # the name before it may contain anything
