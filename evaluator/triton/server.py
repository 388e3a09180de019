"""The Triton server: one that an operator runs, or one of our own, for one model.

Our own listens on a Unix socket in a private folder, so that nobody else can reach it: whoever
reaches a server with explicit model control can make it run code.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from evaluator.errors import BusbenchError, Code

EXECUTABLE = "BUSBENCH_TRITONSERVER"  # the environment variable that names it
_GUARD = Path(__file__).with_name("guard.py")


def find_server(named: Path | None) -> Path:
    """`tritonserver`: as named, else from `BUSBENCH_TRITONSERVER`, else from PATH.

    Raises:
        BusbenchError: `triton-unavailable` where there is none.
    """
    if named is None and os.environ.get(EXECUTABLE):
        named = Path(os.environ[EXECUTABLE])
    if named is not None and named.is_dir():
        named = named / "bin" / "tritonserver"
    found = shutil.which(named or "tritonserver")
    if found is None:
        raise unavailable(f"{named} is no Triton server" if named else "No Triton server is named")
    return Path(found)


def unavailable(what: str) -> BusbenchError:
    """The error of a server that is not there."""
    return BusbenchError(
        Code.TRITON_UNAVAILABLE,
        f"{what}.",
        f"Install one with `make triton` and name it in {EXECUTABLE}, or start one and name it "
        "with --triton HOST:PORT.",
    )


class LocalServer:
    """A Triton server of our own, guarded by `guard.py`; it has no model yet.

    Args:
        memory: bytes of address space of each of its processes; None sets no limit.
    """

    def __init__(self, executable: Path, memory: int | None) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=f"busbench-triton-{os.getpid()}-"))
        self._stopping = threading.Lock()
        self.repository = self._folder / "models"
        self.repository.mkdir()
        socket = f"unix:{self._folder}/grpc"
        self.address = f"{socket}:8001"  # Triton adds its port to whatever it is given
        limit = [] if memory is None else [f"--bytes={memory}"]
        command = [
            sys.executable,
            "-I",
            str(_GUARD),
            f"--folder={self._folder}",
            *limit,
            "--",
            str(executable),
            f"--model-repository={self.repository}",
            "--model-control-mode=explicit",
            "--disable-auto-complete-config",
            "--allow-http=false",
            "--allow-metrics=false",
            f"--grpc-address={socket}",
            # what its Python backends leave behind is found by this name
            f"--backend-config=python,shm-region-prefix-name={self._folder.name}",
        ]
        self._guard = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # to clean up, it outlives a kill of our process group
        )

    def is_running(self) -> bool:
        """Whether it has not ended by itself."""
        return self._guard.poll() is None

    def last_words(self) -> str:
        """The last error in its log, or its last line."""
        try:
            lines = (self._folder / "server.log").read_text(errors="replace").splitlines()
        except FileNotFoundError:
            lines = []
        errors = [line for line in lines if line.startswith("E")]
        return next((line[:300] for line in reversed(errors or lines) if line.strip()), "no reason")

    def stop(self) -> None:
        """Kill it, whatever it is doing, and remove all that it left.

        From any thread; more than once is fine.
        """
        with self._stopping:
            self._guard.communicate()
            shutil.rmtree(self._folder, ignore_errors=True)
