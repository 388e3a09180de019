"""The guard of a Triton server: it ends with the server or with whoever started it.

Started by `evaluator.triton.server`, never imported. It waits until its standard input
closes (whoever started it is done, or dead) or the server ends, then kills the server and all that
came of it, and removes what they leave: a killed server's Python backends live on, and so does
their shared memory.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2): orphaned descendants become our children
_SHARED_MEMORY = Path("/dev/shm")


def _children() -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = stat.read_text().rpartition(")")[2].split()[1]
        except OSError:  # it ended meanwhile
            continue
        if int(parent) == os.getpid():
            found.append(int(stat.parent.name))
    return found


def _end_descendants() -> None:
    """Kill children until none is left; theirs become ours."""
    while children := _children():
        for child in children:
            os.kill(child, signal.SIGKILL)
        for child in children:
            os.waitpid(child, 0)


def main() -> None:
    """Run the server, wait, clean up."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--bytes", type=int, default=resource.RLIM_INFINITY)
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    ctypes.CDLL(None).prctl(_SUBREAPER, 1)
    for kind, most in ((resource.RLIMIT_AS, args.bytes), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(kind, (most, most))
    ended: list[object] = [sys.stdin]
    try:
        with (args.folder / "server.log").open("wb") as log:
            server = subprocess.Popen(
                args.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        ended, _, _ = select.select([sys.stdin, os.pidfd_open(server.pid)], [], [])
    finally:
        _end_descendants()
        for left in _SHARED_MEMORY.glob(f"{args.folder.name}*"):
            left.unlink(missing_ok=True)
        if sys.stdin in ended:  # else somebody may want to read the log
            shutil.rmtree(args.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
