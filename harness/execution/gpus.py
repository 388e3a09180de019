"""GPU slots: the choice of a GPU for each job, on a machine that has several.

A slot is a GPU: each job that needs one has a lock of this machine, which the kernel releases
when the job's process dies, however it dies. So two jobs never share a GPU, whether a machine runs
one worker with four slots or four workers with one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from evaluator.files import disk_errors

VISIBLE = "CUDA_VISIBLE_DEVICES"
WAIT_SECONDS = 0.5


def usable_gpus(environment: Mapping[str, str], installed: Sequence[str]) -> tuple[str, ...]:
    """The GPUs that a process may use, by what engines and CUDA call them.

    Args:
        environment: of the process; where it names visible devices, as Slurm has it or an
            operator, it may use those alone. As in CUDA, those behind a `-1` do not count.
        installed: the machine's GPUs.
    """
    visible = environment.get(VISIBLE)
    if visible is None:
        return tuple(installed)
    named = [word.strip() for word in visible.split(",") if word.strip()]
    return tuple(named[: named.index("-1")] if "-1" in named else named)


def installed_gpus() -> tuple[str, ...]:
    """The indices of this machine's GPUs, as its driver lists them; none without a driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    asked = [program, "--query-gpu=index", "--format=csv,noheader"]
    listed = subprocess.run(asked, capture_output=True, text=True, check=False)
    return tuple(listed.stdout.split()) if listed.returncode == 0 else ()


@contextmanager
def a_gpu(gpus: Sequence[str], folder: Path | None = None) -> Iterator[str | None]:
    """Reserve one of `gpus` that no other job of this machine has; waits where all are taken.

    Args:
        folder: of the locks; this machine's own unless named.

    Yields:
        The GPU, or None where none is known: the stage that needs it reports what is missing.
    """
    if not gpus:
        yield None
        return
    folder = folder or Path(tempfile.gettempdir()) / f"busbench-gpus-{os.getuid()}"
    with disk_errors(folder), ExitStack() as stack:
        folder.mkdir(mode=0o700, exist_ok=True)
        while (gpu := _take_first(gpus, folder, stack)) is None:
            time.sleep(WAIT_SECONDS)
        yield gpu


def _take_first(gpus: Sequence[str], folder: Path, stack: ExitStack) -> str | None:
    for gpu in gpus:
        handle = (folder / f"{gpu.replace('/', '-')}.lock").open("a")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.close()
            continue
        stack.enter_context(handle)
        return gpu
    return None
