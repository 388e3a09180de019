"""Stages forked from one process that has imported them, which takes longer than a small stage.

What a stage is given, and how it is watched and ended, stays as `ProcessRunner` has it; containers
and `busbench` as a command of its own start stages as everybody does.
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from evaluator.__main__ import STAGES, main
from harness.sandbox import process_runner
from tests.support import ROOT

LOADED = (*STAGES.values(), "evaluator.metrics.kernel", "pandas", "scipy.special")
# They differ from test to test, and no stage reads them.
IGNORED = {"PYTHONPATH", "PYTHONUNBUFFERED", "PYTEST_CURRENT_TEST", "COLUMNS"}


class Forked:
    """A stage's process, with what `ProcessRunner` uses of a `Popen`."""

    def __init__(self, reply: socket.socket, stdin: int | None, stdout: int) -> None:
        self._reply = reply.makefile("r")
        self.stdin = None if stdin is None else os.fdopen(stdin, "wb")
        self.stdout = os.fdopen(stdout, "rb")
        self.pid = int(self._reply.readline())
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit status, where it has ended."""
        ended = self._code is not None or select.select([self._reply], [], [], 0)[0]
        return self.wait() if ended else None

    def wait(self) -> int:
        """Its exit status; minus the signal's number where one ended it."""
        if self._code is None:
            self._code = int(self._reply.readline())
        return self._code


class Server:
    """The client's end of the process that forks."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        words = [sys.executable, "-m", __name__, str(theirs.fileno())]
        self._process = subprocess.Popen(words, cwd=ROOT, pass_fds=[theirs.fileno()])
        theirs.close()
        self._cold, self._environment = process_runner.start, _read_at_import(os.environ)

    def close(self) -> None:
        """End it."""
        self._channel.close()
        self._process.wait()

    def start(self, words: Sequence[str], environment: Mapping[str, str], *, reads: bool) -> Any:
        """See `harness.sandbox.process_runner.start`, which does it where the environment differs.

        Libraries read it when they are imported.
        """
        if words[0] != "evaluator" or _read_at_import(environment) != self._environment:
            return self._cold(words, environment, reads=reads)
        mask = os.umask(0)
        os.umask(mask)
        place = {"cwd": str(Path.cwd()), "umask": mask}
        asked = {"words": words, "environment": {**environment}, **place}
        theirs_in, ours_in = os.pipe() if reads else (os.open(os.devnull, os.O_RDONLY), None)
        ours_out, theirs_out = os.pipe()
        reply, theirs = socket.socketpair()
        given = [theirs_in, theirs_out, theirs.fileno()]
        socket.send_fds(self._channel, [json.dumps(asked).encode()], given)
        for descriptor in (theirs_in, theirs_out):
            os.close(descriptor)
        theirs.close()
        return Forked(reply, ours_in, ours_out)


def _read_at_import(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in IGNORED}


def _serve(channel: socket.socket) -> None:
    """Fork until the client is gone."""
    for name in LOADED:
        import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those who watch
    while True:
        data, descriptors, *_ = socket.recv_fds(channel, 1 << 20, 3)
        if not data:
            return
        if os.fork() == 0:
            channel.close()
            _watch(json.loads(data), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _watch(asked: Mapping[str, Any], stdin: int, stdout: int, reply: int) -> None:
    """Fork the stage, and tell its number and how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        os.close(reply)
        os._exit(_run(asked, stdin, stdout))
    for descriptor in (stdin, stdout):
        os.close(descriptor)
    os.write(reply, f"{pid}\n".encode())
    _, status = os.waitpid(pid, 0)
    os.write(reply, f"{os.waitstatus_to_exitcode(status)}\n".encode())
    os._exit(0)


def _run(asked: Mapping[str, Any], stdin: int, stdout: int) -> int:
    """Be the stage."""
    os.setsid()
    os.umask(asked["umask"])
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    for descriptor, place in ((stdin, 0), (stdout, 1), (stdout, 2)):
        os.dup2(descriptor, place)
    os.close(stdin)
    os.close(stdout)
    sys.argv = asked["words"]
    try:
        code = main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except Exception:  # noqa: BLE001 - what an interpreter does with one that nobody catches
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
